"""``fixed:N``: every call of the trained student requests N tokens (the paper's Fixed-20 and Fixed-100)."""

from __future__ import annotations

from relay_core.decoding.triggers import Commands
from relay_core.errors import ConfigurationError
from relay_core.evaluate.methods.base import Decoded, Method, Models


def build(spec: str, arguments: str, models: Models) -> Method:
    """``fixed:20`` has one argument, the number of tokens."""
    if not arguments.isdecimal() or not int(arguments):
        raise ConfigurationError(f"the method {spec!r}: write the number of tokens of every call, such as fixed:20")
    relay = models.relay(trigger=Commands(int(arguments), models.settings.trigger.command_bias))
    return Decoded(spec, f"fixed-{arguments}", relay, curve="fixed length")
