"""The arguments of ``RelayLLM``: aliases are translated, unknown names are refused, and every setting gets a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from relay_core.adapters.arguments import check_relay_argument, own_arguments
from relay_core.adapters.identity import relay_specs
from relay_core.adapters.settings_fields import DEFAULTS, SETTINGS
from relay_core.engines.base import Engine
from relay_core.errors import ConfigurationError
from relay_core.relay import Relay

# arguments of LlamaIndex's other LLMs that RelayLLM does not have
_INSTEAD = {
    "base_url": "write student='openai:MODEL@URL', and teacher= in the same form",
    "api_base": "write student='openai:MODEL@URL', and teacher= in the same form",
}


def constructor_arguments(values: Mapping[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    """The values of RelayLLM's fields, from the arguments of its constructor.

    If ``relay=`` is given, an unset setting takes its value from the relay, so that the fields always show the settings
    that apply.

    Args:
        values: the arguments of the constructor.
        fields: the names of RelayLLM's fields.

    Raises:
        ConfigurationError: a name is unknown, arguments contradict each other, or a setting cannot be used.
    """
    arguments = {name: value for name, value in values.items() if name != "class_name"}
    arguments = own_arguments("RelayLLM", arguments, fields, _INSTEAD)
    relay = arguments.get("relay")
    settings = DEFAULTS
    if relay is not None:
        specs = relay_specs(relay) if isinstance(relay, Relay) else {}
        check_relay_argument(relay, arguments, {**specs, "max_retries": None})
        settings = relay.settings
        arguments.update(specs)
    for role in ("student", "teacher"):
        if isinstance(arguments.get(role), Engine):
            raise ConfigurationError(f"{role} is an engine: write relay=Relay(student, teacher), or a spec")
    settings = settings.merged({name: value for name, value in arguments.items() if name in SETTINGS})
    return {**arguments, **{name: getattr(settings, name) for name in SETTINGS}}
