"""The arguments of ``ChatRelay`` and ``RelayLLM``: their aliases, and checks whose errors say what to write instead."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import SecretStr

from relay_core.adapters.settings_fields import is_unset
from relay_core.engines.spec import EngineSpec
from relay_core.errors import ConfigurationError, did_you_mean
from relay_core.keys import KEY_ARGUMENTS, clean_key
from relay_core.relay import Relay

# the names that other LangChain and LlamaIndex models use for our arguments
SYNONYMS = {
    "model": "student",
    "model_name": "student",
    "api_key": "teacher_api_key",
    "timeout": "teacher_timeout_s",
    "request_timeout": "teacher_timeout_s",
    "stop_sequences": "stop",
    "max_completion_tokens": "max_tokens",
}


def check_argument_names(model: str, names: Iterable[str], known: Iterable[str], instead: Mapping[str, str]) -> None:
    """Refuse unknown arguments.

    Args:
        model: the name of the class, for the message.
        names: the names of the arguments.
        known: the accepted names.
        instead: what to write in place of arguments that only other models have.

    Raises:
        ConfigurationError: one of ``names`` is not among ``known``.
    """
    known = set(known)
    for name in names:
        if name in instead:
            raise ConfigurationError(f"{model} has no {name}: {instead[name]}")
        if name not in known:
            raise ConfigurationError(f"{model} has no argument {name!r}; {did_you_mean(name, known)}")


def clean_key_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """``arguments`` with its API keys stripped of white space and wrapped as secrets.

    Raises:
        ConfigurationError: a key is not a text, or has a character that cannot be sent; the message names the argument
            but does not show the key.
    """
    keys: dict[str, SecretStr] = {}
    for name in KEY_ARGUMENTS:
        key = arguments.get(name)
        if key is not None:
            keys[name] = SecretStr(clean_key(key.get_secret_value() if isinstance(key, SecretStr) else key, f"{name}="))
    return {**arguments, **keys}


def own_arguments(
    model: str, arguments: Mapping[str, Any], fields: Iterable[str], instead: Mapping[str, str]
) -> dict[str, Any]:
    """The arguments of a constructor under our names, without unset ones, and with API keys wrapped as secrets.

    Args:
        model: the name of the class, for messages.
        arguments: the arguments as the caller wrote them.
        fields: the names of the class's fields.
        instead: what to write in place of arguments that only other models have.

    Raises:
        ConfigurationError: a name is unknown, one argument is passed under two names, a ``Path`` is no folder, a key
            cannot be used, or ``api_key`` can only mean the student's key.
    """
    check_argument_names(model, arguments, {*fields, *SYNONYMS}, instead)
    arguments = clean_key_arguments(arguments)
    check_api_key(arguments)
    return translated(arguments)


def check_relay_argument(relay: Any, arguments: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Check the argument ``relay=``, and that the other arguments agree with it.

    Args:
        arguments: all arguments of the model.
        own: the values that ``relay`` determines; an argument of the same name must be equal.

    Raises:
        ConfigurationError: ``relay`` is not a :class:`Relay`, or another argument contradicts it.
    """
    if not isinstance(relay, Relay):
        raise ConfigurationError(f"relay is a {type(relay).__name__}: write a relay_core.Relay(...)")
    for name, value in own.items():
        if arguments.get(name, value) != value:
            raise ConfigurationError(f"relay= and {name}= are both given: the relay has it; write one of them")


def translated(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """``arguments`` under our names, without unset ones.

    Raises:
        ConfigurationError: an argument is given under two names, or a ``Path`` is not an existing folder.
    """
    result: dict[str, Any] = {}
    for name, value in arguments.items():
        our_name = SYNONYMS.get(name, name)
        if our_name in result:
            synonym = name if name != our_name else next(n for n in arguments if SYNONYMS.get(n) == our_name)
            raise ConfigurationError(f"{synonym} is another name for {our_name}: write one of them")
        if isinstance(value, os.PathLike) and our_name in ("student", "teacher"):
            value = str(EngineSpec.parse(value))  # as text, like every other spec: specs are shown, logged and stored
        if not is_unset(our_name, value):
            result[our_name] = value
    return result


def check_api_key(arguments: Mapping[str, Any]) -> None:
    """Refuse ``api_key``, which sets the teacher's key, if the caller can only have meant the student's key.

    Raises:
        ConfigurationError: ``api_key`` is given, but only the student is an endpoint.
    """
    if arguments.get("api_key") is None or "student_api_key" in arguments:
        return
    student = next((arguments[name] for name in ("student", "model", "model_name") if name in arguments), None)
    if _is_remote(student) and not _is_remote(arguments.get("teacher")):
        raise ConfigurationError(
            "api_key is the teacher's, and only the student is an openai: endpoint: write student_api_key="
        )


def _is_remote(engine: Any) -> bool:
    if not isinstance(engine, str):
        return False
    try:
        return EngineSpec.parse(engine).is_remote
    except ConfigurationError:  # building the engine raises it again
        return False
