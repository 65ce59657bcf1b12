"""``relay``: the student calls where it was trained to, or by the trigger of the settings."""

from __future__ import annotations

import math
from dataclasses import replace

from relay_core.decoding.triggers import Commands
from relay_core.errors import ConfigurationError
from relay_core.evaluate.methods.base import Decoded, Method, Models


def build(spec: str, arguments: str, models: Models) -> Method:
    """``relay``; ``relay,teacher=SPEC`` is the same student with another teacher.

    ``relay:bias=-2`` adds a bias to the first token of its commands; methods with several biases make a curve of
    accuracy against the call ratio.
    """
    if not arguments:
        return Decoded(spec, "relay", models.relay())
    trigger = models.settings.trigger
    if not isinstance(trigger, Commands):
        raise ConfigurationError(f"the method {spec!r} is for students that call; the trigger of this run is {trigger}")
    name, _, value = arguments.partition("=")
    try:
        bias = float(value) if name == "bias" else math.nan
    except ValueError:
        bias = math.nan
    if math.isnan(bias):
        raise ConfigurationError(
            f"the method {spec!r}: write a bias and nothing else, such as relay:bias=-2; --trigger commands:100 "
            "sets the length of calls"
        )
    return Decoded(spec, f"relay bias {bias:g}", models.relay(trigger=replace(trigger, bias=bias)), curve="relay")
