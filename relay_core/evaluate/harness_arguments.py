"""The arguments of a relay in an evaluation harness: their names, their text, and what is refused among them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from relay_core.errors import ConfigurationError, did_you_mean
from relay_core.settings import RelaySettings

SETTINGS = tuple(f.name for f in fields(RelaySettings))
ARGUMENTS = ("student", "teacher", "max_concurrency", *SETTINGS)

_SECRET = re.compile(r"key|secret|password|authorization|(^|_)token$", re.I)
_NEXT_ARGUMENT = re.compile(r",\s*(?=[a-z_]+\s*=)")


def refuse_secrets(names: Iterable[str]) -> None:
    """Refuse keys and passwords among the arguments of a model.

    Raises:
        ConfigurationError: one of ``names`` is the name of a secret; the message shows no value.
    """
    for name in names:
        if name not in ARGUMENTS and _SECRET.search(name):
            raise ConfigurationError(
                f"{name}: a harness writes the arguments of a model into its logs and results, so no key may be among "
                "them: set RELAY_STUDENT_API_KEY, RELAY_TEACHER_API_KEY or OPENAI_API_KEY"
            )


def check_arguments(names: Iterable[str]) -> None:
    """Refuse keys, and names that no argument has.

    Raises:
        ConfigurationError: one of ``names`` is such a name.
    """
    refuse_secrets(names)
    for name in names:
        if name not in ARGUMENTS:
            raise ConfigurationError(f"a relay has no argument {name!r}; {did_you_mean(name, ARGUMENTS)}")


def parse_arguments(text: str) -> dict[str, Any]:
    """The arguments in ``NAME=VALUE,NAME=VALUE``, or in a JSON object.

    A comma separates arguments only if a name and ``=`` follow it, as in ``trigger=uncertain:0.4,8,max_calls=5``.
    A value is read as JSON if it is JSON, and otherwise taken as text.

    Raises:
        ConfigurationError: the text has neither form. The message shows no value, which may be a key.
    """
    if text.lstrip().startswith("{"):
        return json_object(text, "the arguments")
    arguments: dict[str, Any] = {}
    for part in _NEXT_ARGUMENT.split(text.strip()) if text.strip() else ():
        name, equals, value = part.partition("=")
        if not equals:
            raise ConfigurationError("the arguments of a relay: write NAME=VALUE,NAME=VALUE, or a JSON object")
        try:
            arguments[name.strip()] = json.loads(value)
        except ValueError:
            arguments[name.strip()] = value.strip()
    return arguments


def no_likelihood(tasks: Iterable[str]) -> ConfigurationError:
    """The error about tasks that ask for likelihoods."""
    return ConfigurationError(
        f"a relay has no likelihood of a given text, because two models write its answer: {', '.join(sorted(tasks))} "
        "cannot be run with it. Choose tasks that generate text; some multiple-choice tasks have a variant that does"
    )


def json_object(text: str, what: str) -> dict[str, Any]:
    """The JSON object that ``text`` is.

    Args:
        what: what the text is, for the error, which does not show the text.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{what}: this is no JSON object ({type(error).__name__})") from None
    if not isinstance(value, dict):
        raise ConfigurationError(f"{what}: write a JSON object, with braces")
    return value
