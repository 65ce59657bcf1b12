"""The arguments of ``ChatRelay``: other chat models' names for them are translated, unknown names refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from relay_core.adapters.arguments import check_argument_names, check_relay_argument
from relay_core.adapters.settings_fields import SETTINGS, is_unset
from relay_core.engines.spec import EngineSpec
from relay_core.errors import ConfigurationError
from relay_core.relay import Relay
from relay_core.settings import RelaySettings

# other chat models' names for our arguments
_SYNONYMS = {
    "model": "student",
    "model_name": "student",
    "api_key": "teacher_api_key",
    "timeout": "teacher_timeout_s",
    "request_timeout": "teacher_timeout_s",
    "stop_sequences": "stop",
    "max_completion_tokens": "max_tokens",
}

# arguments that other chat models have and ChatRelay has not
_INSTEAD = {
    "base_url": "write student='openai:MODEL@URL', teacher= likewise",
    "stream_usage": "leave it out, usage comes with every stream",
}


def constructor_arguments(values: Mapping[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    """The values of ChatRelay's fields, from its constructor's arguments.

    The engines and settings of ``relay=`` are the defaults of the other arguments.

    Args:
        values: the arguments.
        fields: the names of ChatRelay's fields.

    Raises:
        ConfigurationError: a name is unknown, or arguments contradict each other.
    """
    check_argument_names("ChatRelay", values, {*fields, *_SYNONYMS}, _INSTEAD)
    _check_key(values)
    arguments = translated(values)
    relay = arguments.get("relay")
    if relay is not None:
        engines = {"student": relay.student, "teacher": relay.teacher} if isinstance(relay, Relay) else {}
        check_relay_argument(relay, arguments, {**engines, "max_retries": None})
        arguments = {**engines, **{name: getattr(relay.settings, name) for name in SETTINGS}, **arguments}
    if is_dataclass(arguments.get("prices")):
        arguments["prices"] = asdict(arguments["prices"])
    if "stop" in arguments:
        arguments["stop"] = list(RelaySettings(stop=arguments["stop"]).stop) or None
    return arguments


def translated(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """``arguments`` under our names, without those that count as left out.

    Raises:
        ConfigurationError: one argument under two names.
    """
    result: dict[str, Any] = {}
    for name, value in arguments.items():
        our_name = _SYNONYMS.get(name, name)
        if our_name in result:
            synonym = name if name != our_name else next(n for n in arguments if _SYNONYMS.get(n) == our_name)
            raise ConfigurationError(f"{synonym} is another name for {our_name}: write one of them")
        if not is_unset(our_name, value):
            result[our_name] = value
    return result


def _check_key(arguments: Mapping[str, Any]) -> None:
    """Refuse an ``api_key`` that can only be meant for the student: it is the teacher's.

    Raises:
        ConfigurationError: ``api_key`` is given, and only the student is an endpoint.
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
    except ConfigurationError:  # raised again where the engine is built
        return False
