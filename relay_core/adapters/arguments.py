"""Checks of a model's arguments that both plugins share; each refusal says what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from relay_core.errors import ConfigurationError, did_you_mean
from relay_core.relay import Relay


def check_argument_names(model: str, names: Iterable[str], known: Iterable[str], instead: Mapping[str, str]) -> None:
    """Refuse unknown arguments.

    Args:
        model: the class's name, for the message.
        names: the arguments' names.
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


def check_relay_argument(relay: Any, arguments: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Check the argument ``relay=`` and the arguments beside it.

    Args:
        arguments: all arguments of the model.
        own: the values that ``relay`` determines; an argument of the same name must be equal.

    Raises:
        ConfigurationError: ``relay`` is no :class:`Relay`, or an argument beside it contradicts it.
    """
    if not isinstance(relay, Relay):
        raise ConfigurationError(f"relay is a {type(relay).__name__}: write a relay_core.Relay(...)")
    for name, value in own.items():
        if arguments.get(name, value) != value:
            raise ConfigurationError(f"relay= and {name}= are both given: the relay has it; write one of them")
