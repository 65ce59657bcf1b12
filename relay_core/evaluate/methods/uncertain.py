"""``uncertain:BELOW,N``: the untrained student is asked where its likeliest token has a probability below BELOW."""

from __future__ import annotations

from relay_core.decoding.triggers import parse_trigger
from relay_core.evaluate.methods.base import Decoded, Method, Models


def build(spec: str, arguments: str, models: Models) -> Method:
    """``uncertain:0.4,8`` or ``uncertain:0.4,8,2`` has the arguments of the trigger of this name."""
    relay = models.relay(
        models.base, trigger=parse_trigger(f"uncertain:{arguments}"), student_instructions=None, max_calls=None
    )
    return Decoded(spec, f"uncertain {arguments}", relay, curve="uncertain")
