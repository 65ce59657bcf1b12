from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from pydantic import ValidationError

from relay_core import Chance, ConfigurationError, Never, RelaySettings, Uncertain
from relay_core.adapters.settings_fields import SETTINGS, SettingsFields, settings_of
from relay_core.settings import Prices


class Model(SettingsFields):
    """As the plugins' models: their own form of stop strings and prices."""

    stop: list[str] | None = None
    prices: Prices | None = None


def test_every_setting_is_a_field_with_the_same_default() -> None:
    names = {f.name for f in fields(RelaySettings)}
    assert set(SETTINGS) == names
    assert set(SettingsFields.model_fields) == names - {"stop", "prices"}
    defaults = {f.name: f.default for f in fields(RelaySettings)}
    assert SettingsFields().model_dump().items() <= {**defaults, "trigger": str(defaults["trigger"])}.items()


def test_a_trigger_is_kept_as_its_string_and_ones_own_as_it_is() -> None:
    assert SettingsFields(trigger=Uncertain(0.4, 8)).trigger == SettingsFields(trigger="uncertain:0.4,8").trigger
    assert settings_of(Model(trigger="chance:0.5,2"), {}).trigger == Chance(0.5, 2)

    class Own(Never):
        pass

    assert settings_of(Model(trigger=Own()), {}).trigger == Own()
    with pytest.raises(ValidationError, match="write one of commands"):
        SettingsFields(trigger="sometimes")


@pytest.mark.parametrize("overrides", [{}, {"stop": ["y"], "temperature": 0.5}, {"stop": None, "max_calls": None}])
def test_the_settings_of_a_call_are_the_models_with_its_overrides(overrides: dict[str, Any]) -> None:
    model = Model(max_tokens=10, max_calls=2, stop=["x"])
    own = RelaySettings(max_tokens=10, max_calls=2, stop="x")
    assert settings_of(model, overrides) == own.merged(overrides)
    assert settings_of(model, {}) == own


@pytest.mark.parametrize("overrides", [{"temprature": 1}, {"temperature": -1}])
def test_overrides_are_checked_as_settings_are(overrides: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as merged:
        RelaySettings().merged(overrides)
    with pytest.raises(ConfigurationError) as built:
        settings_of(Model(), overrides)
    assert str(built.value) == str(merged.value)
