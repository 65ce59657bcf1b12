"""The settings as pydantic fields, for the plugins' models. Checked by :class:`RelaySettings`, not here.

``stop`` and ``prices`` are left out of the fields: each framework keeps lists and objects in forms of its own.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Literal

from pydantic import BaseModel

from relay_core.settings import RelaySettings

SETTINGS = tuple(f.name for f in fields(RelaySettings))
DEFAULTS = RelaySettings()


class SettingsFields(BaseModel):
    """What the settings mean is said in :class:`RelaySettings`."""

    max_tokens: int = DEFAULTS.max_tokens
    max_calls: int | None = DEFAULTS.max_calls
    max_call_tokens: int | None = DEFAULTS.max_call_tokens
    max_teacher_tokens: int | None = DEFAULTS.max_teacher_tokens
    deadline_s: float | None = DEFAULTS.deadline_s
    teacher_timeout_s: float | None = DEFAULTS.teacher_timeout_s
    on_teacher_error: Literal["continue", "raise"] = DEFAULTS.on_teacher_error
    on_teacher_stop: Literal["finish", "continue"] = DEFAULTS.on_teacher_stop
    warming: Literal["auto", "on", "off"] = DEFAULTS.warming
    calls: bool = DEFAULTS.calls
    temperature: float = DEFAULTS.temperature
    top_p: float = DEFAULTS.top_p
    top_k: int | None = DEFAULTS.top_k
    seed: int | None = DEFAULTS.seed
    teacher_temperature: float | None = DEFAULTS.teacher_temperature


def is_given(name: str, value: Any) -> bool:
    """Whether a setting is given; ``None`` for one that cannot be ``None`` is how other libraries leave it out."""
    return value is not None or name not in SETTINGS or getattr(DEFAULTS, name) is None
