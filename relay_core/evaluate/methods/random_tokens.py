"""``random-tokens:P,N``: instead of each token of the untrained student, the teacher writes N with probability P."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay_core.decoding.triggers import parse_trigger
from relay_core.evaluate.methods.base import Decoded, Method, Models

if TYPE_CHECKING:
    from relay_core.evaluate.tuning import Tuning

N = 8  # teacher tokens of a call, where it is tuned


def build(spec: str, arguments: str, models: Models) -> Method:
    """``random-tokens:0.02,8`` has the arguments of the trigger ``chance``."""
    relay = models.untrained(parse_trigger(f"chance:{arguments}"))
    return Decoded(spec, f"random tokens {arguments}", relay, curve="random tokens")


async def sweep(arguments: str, tuning: Tuning) -> list[str] | None:
    """One method for each call ratio r, with p n / (p n + 1 - p) = r; ``None`` if the arguments are there."""
    if arguments:
        return None
    rates = {r: r / (N * (1 - r) + r) for r in tuning.ratios}
    return [f"random-tokens:{p:.4g},{N}" for p in rates.values()]
