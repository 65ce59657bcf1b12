"""The settings as pydantic fields of ``ChatRelay`` and ``RelayLLM``, and the settings of one request made from them.

:class:`RelaySettings` checks the values. ``stop`` and ``prices`` are not among these fields, because each framework has
its own form for lists and objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator

from relay_core.decoding.triggers import as_trigger
from relay_core.settings import RelaySettings, check_setting_names

SETTINGS = tuple(f.name for f in fields(RelaySettings))
DEFAULTS = RelaySettings()


def _trigger(value: object) -> object:
    trigger = as_trigger(value)
    return str(trigger) if type(trigger).__module__.startswith("relay_core.decoding.") else trigger


class SettingsFields(BaseModel):
    """The fields that ``ChatRelay`` and ``RelayLLM`` share; :class:`RelaySettings` documents them."""

    max_tokens: int = DEFAULTS.max_tokens
    max_calls: int | None = DEFAULTS.max_calls
    max_call_tokens: int | None = DEFAULTS.max_call_tokens
    max_teacher_tokens: int | None = DEFAULTS.max_teacher_tokens
    deadline_s: float | None = DEFAULTS.deadline_s
    teacher_timeout_s: float | None = DEFAULTS.teacher_timeout_s
    on_teacher_error: Literal["continue", "raise"] = DEFAULTS.on_teacher_error
    on_teacher_stop: Literal["finish", "continue"] = DEFAULTS.on_teacher_stop
    warming: Literal["auto", "on", "off"] = DEFAULTS.warming
    enable_thinking: bool = DEFAULTS.enable_thinking
    calls: bool = DEFAULTS.calls
    #: a trigger that ships is kept as its string, so that the model can be serialised
    trigger: Annotated[Any, BeforeValidator(_trigger)] = str(DEFAULTS.trigger)
    student_instructions: str | None = DEFAULTS.student_instructions
    temperature: float = DEFAULTS.temperature
    top_p: float = DEFAULTS.top_p
    top_k: int | None = DEFAULTS.top_k
    seed: int | None = DEFAULTS.seed
    teacher_temperature: float | None = DEFAULTS.teacher_temperature
    teacher_top_p: float | None = DEFAULTS.teacher_top_p
    teacher_top_k: int | None = DEFAULTS.teacher_top_k


def settings_of(model: SettingsFields, overrides: Mapping[str, Any]) -> RelaySettings:
    """The settings of one request: the fields of ``model``, replaced by the values in ``overrides``.

    Raises:
        ConfigurationError: an override has an unknown name, or a value cannot be used.
    """
    check_setting_names(overrides)
    return RelaySettings(**{name: overrides[name] if name in overrides else getattr(model, name) for name in SETTINGS})


def is_unset(name: str, value: Any) -> bool:
    """Whether an argument counts as unset: it is ``None``, and its setting cannot be ``None``.

    The models of other libraries also treat ``None`` as unset.
    """
    return value is None and name in SETTINGS and getattr(DEFAULTS, name) is not None
