"""``random-tokens:P,N``: instead of each token of the untrained student, the teacher writes N with probability P."""

from __future__ import annotations

from relay_core.decoding.triggers import parse_trigger
from relay_core.evaluate.methods.base import Decoded, Method, Models


def build(spec: str, arguments: str, models: Models) -> Method:
    """``random-tokens:0.02,8`` has the arguments of the trigger ``chance``."""
    relay = models.relay(
        models.base, trigger=parse_trigger(f"chance:{arguments}"), student_instructions=None, max_calls=None
    )
    return Decoded(spec, f"random tokens {arguments}", relay, curve="random tokens")
