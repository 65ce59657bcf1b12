"""The arguments of ``ChatRelay``: the names that other chat models use are translated, and unknown names are
refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from pydantic import SecretStr

from relay_core.adapters.arguments import check_relay_argument, own_arguments
from relay_core.adapters.settings_fields import SETTINGS
from relay_core.errors import ConfigurationError
from relay_core.keys import Role, key_from_environment
from relay_core.relay import Relay
from relay_core.settings import RelaySettings

# arguments of other chat models that ChatRelay does not have
_INSTEAD = {
    "base_url": "write student='openai:MODEL@URL', and teacher= in the same form",
    "stream_usage": "leave it out, because every stream reports its usage",
}


def constructor_arguments(values: Mapping[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    """The values of ChatRelay's fields, from the arguments of its constructor.

    If ``relay=`` is given, its engines and settings are the defaults of the other arguments.

    Args:
        values: the arguments of the constructor.
        fields: the names of ChatRelay's fields.

    Raises:
        ConfigurationError: a name is unknown, or arguments contradict each other.
    """
    arguments = own_arguments("ChatRelay", values, fields, _INSTEAD)
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


def secret_from_environment(role: Role) -> SecretStr | None:
    """The API key of ``role`` from the environment; ``None`` if there is none.

    A relay without endpoints needs no key, so an invalid key is refused only by an engine that uses it.
    """
    try:
        key = key_from_environment(role)
    except ConfigurationError:
        return None
    return None if key is None else SecretStr(key)
