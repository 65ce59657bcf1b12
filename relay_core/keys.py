"""The keys of ``openai:`` endpoints: their environment variables, and the text for an error about a key."""

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
_VARIABLES_WITHOUT_ROLE = ("OPENAI_API_KEY", "RELAY_TEACHER_API_KEY")  # for an engine that was built without a role


def key_from_environment(role: Role | None) -> str | None:
    """The API key of ``role``, from the first of its environment variables that is set."""
    variables = _VARIABLES_WITHOUT_ROLE if role is None else KEY_VARIABLES[role]
    return next((key for variable in variables if (key := os.environ.get(variable))), None)


def how_to_give_a_key(role: Role | None) -> str:
    """The end of an error about a missing or refused key: where to set it."""
    if role is None:
        return f"set api_key= or {_VARIABLES_WITHOUT_ROLE[0]}"
    first, second = KEY_VARIABLES[role]
    return f"the {role}'s key is {role}_api_key= (ChatRelay, RelayLLM), else {first}, else {second}"


def refuse_keys(names: Iterable[str]) -> None:
    """Refuse keys among the arguments of a call or a binding.

    Keys can only be passed to the constructor: a key bound with ``.bind()`` would show up in logs and traces.

    Raises:
        ConfigurationError: one of ``names`` is the name of a key.
    """
    for name in names:
        if name in ("api_key", *(f"{role}_api_key" for role in KEY_VARIABLES)):
            raise ConfigurationError(f"{name}: pass keys when the ChatRelay (RelayLLM) is built, not with a call")
