"""The API keys of ``openai:`` endpoints: their environment variables, and the advice in errors about a key."""

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
KEY_ARGUMENTS = ("api_key", *(f"{role}_api_key" for role in KEY_VARIABLES))  # of ChatRelay and RelayLLM
_VARIABLES_WITHOUT_ROLE = ("OPENAI_API_KEY", "RELAY_TEACHER_API_KEY")  # for an engine that was built without a role


def clean_key(key: object, setting: str) -> str:
    """Strip the white space around a key or another value of an HTTP header: mounted secrets often end with a newline.

    Args:
        key: the value.
        setting: the name of the setting or variable that holds it, for the error.

    Raises:
        ConfigurationError: the value has a character that no HTTP header can hold; the message does not show it.
    """
    if not isinstance(key, str):
        raise ConfigurationError(f"{setting} is a {type(key).__name__}: write text")
    cleaned = key.strip()
    if not (cleaned.isascii() and cleaned.isprintable()):
        raise ConfigurationError(f"{setting} has a character that no HTTP header can hold, such as a line break")
    return cleaned


def key_from_environment(role: Role | None) -> str | None:
    """The API key of ``role``, from the first of its environment variables that is set.

    Raises:
        ConfigurationError: the key has a character that no HTTP header can hold; the message names the variable.
    """
    for variable in _VARIABLES_WITHOUT_ROLE if role is None else KEY_VARIABLES[role]:
        if key := clean_key(os.environ.get(variable, ""), variable):
            return key
    return None


def how_to_give_a_key(role: Role | None) -> str:
    """The advice at the end of an error about a missing or refused key: where to set the key."""
    if role is None:
        return f"set api_key= or {_VARIABLES_WITHOUT_ROLE[0]}"
    first, second = KEY_VARIABLES[role]
    argument = f"{role}_api_key= (ChatRelay, RelayLLM; pickle does not keep it)"
    return f"the {role}'s key is {argument}, else {first}, else {second}"


def refuse_keys(names: Iterable[str]) -> None:
    """Refuse keys among the arguments of a single request or of ``.bind()``.

    Keys can only be passed to the constructor, because a key bound with ``.bind()`` would show up in logs and traces.

    Raises:
        ConfigurationError: one of ``names`` is the name of a key.
    """
    for name in names:
        if name in KEY_ARGUMENTS:
            raise ConfigurationError(f"{name}: pass keys when the ChatRelay (RelayLLM) is built, not with a call")
