from __future__ import annotations

from dataclasses import fields

from relay_core import RelaySettings
from relay_core.adapters.settings_fields import SETTINGS, SettingsFields


def test_every_setting_is_a_field_with_the_same_default() -> None:
    names = {f.name for f in fields(RelaySettings)}
    assert set(SETTINGS) == names
    assert set(SettingsFields.model_fields) == names - {"stop", "prices"}
    assert SettingsFields().model_dump().items() <= {f.name: f.default for f in fields(RelaySettings)}.items()
