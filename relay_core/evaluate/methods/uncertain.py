"""``uncertain:BELOW,N``: the untrained student is asked where its likeliest token has a probability below BELOW."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay_core.decoding.triggers import parse_trigger
from relay_core.evaluate.doubts import trigger_for
from relay_core.evaluate.methods.base import Decoded, Method, Models

if TYPE_CHECKING:
    from relay_core.evaluate.tuning import Tuning

N = 8  # teacher tokens of a call, where it is tuned


def build(spec: str, arguments: str, models: Models) -> Method:
    """``uncertain:0.4,8`` or ``uncertain:0.4,8,2`` has the arguments of the trigger of this name."""
    relay = models.untrained(parse_trigger(f"uncertain:{arguments}"))
    return Decoded(spec, f"uncertain {arguments}", relay, curve="uncertain")


async def sweep(arguments: str, tuning: Tuning) -> list[str] | None:
    """One method for each call ratio, by the doubts on training problems; ``None`` if the arguments are there."""
    if arguments:
        return None
    doubts = await tuning.doubts()
    return [str(trigger_for(doubts, ratio, N)) for ratio in tuning.ratios]
