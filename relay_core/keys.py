"""Where the keys of ``openai:`` endpoints come from, and what to say when one is not accepted."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal

from relay_core.errors import ConfigurationError

Role = Literal["student", "teacher"]

KEY_VARIABLES: dict[Role, tuple[str, ...]] = {
    "student": ("RELAY_STUDENT_API_KEY", "OPENAI_API_KEY"),
    "teacher": ("RELAY_TEACHER_API_KEY", "OPENAI_API_KEY"),
}
_EITHER = ("OPENAI_API_KEY", "RELAY_TEACHER_API_KEY")  # of an engine that was built without a role


def key_from_environment(role: Role | None) -> str | None:
    """The API key of ``role``: the first of its variables that is set."""
    names = _EITHER if role is None else KEY_VARIABLES[role]
    return next((value for name in names if (value := os.environ.get(name))), None)


def how_to_give_a_key(role: Role | None) -> str:
    """What to write, for errors."""
    if role is None:
        return f"set api_key= or {_EITHER[0]}"
    first, second = KEY_VARIABLES[role]
    return f"the {role}'s key is {role}_api_key= (ChatRelay, RelayLLM), else {first}, else {second}"


def refuse_keys(names: Iterable[str]) -> None:
    """Keys are no settings of a call: what is bound or passed is shown and logged.

    Raises:
        ConfigurationError: one of ``names`` is a key's.
    """
    for name in names:
        if name in ("api_key", *(f"{role}_api_key" for role in KEY_VARIABLES)):
            raise ConfigurationError(f"{name}: keys are given when the ChatRelay (RelayLLM) is built, not with a call")
