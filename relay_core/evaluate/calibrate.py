"""Find the bound of a trigger at which a relay reaches a call ratio.

The student's own tokens foretell the ratio of each bound (``doubts.py``); the relay's own ratio is then measured,
and the foretold ratio that is aimed at is corrected by what was missed, until the measured one is near the target.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from relay_core.evaluate.doubts import Bounded, Doubts, foretell, trigger_for

#: how far the measured ratio may be from the target, as a share of it
TOLERANCE = 0.2
_NEAR = 0.07  # where the search ends; the rest of the tolerance is left to other prompts
_MOST = 4.0  # the largest correction at a time, where no call was made or far too many


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement: the trigger, the call ratio that the student's tokens foretold, and the relay's own."""

    trigger: Bounded
    foretold: float
    measured: float

    def miss(self, target: float) -> float:
        """How far the measured ratio is from the target: the logarithm of their quotient, without sign."""
        return abs(math.log(max(self.measured, 1e-9) / target))


def is_near(call_ratio: float, target: float, tolerance: float = TOLERANCE) -> bool:
    """Whether a call ratio is within ``tolerance`` (a share of the target) of the target."""
    return abs(call_ratio / target - 1) <= tolerance


async def calibrate(
    doubts: Doubts,
    target: float,
    *,
    n: int,
    gap: int = 0,
    head: str | None = None,
    measure: Callable[[Bounded], Awaitable[float]],
    rounds: int = 5,
) -> list[Round]:
    """Measure up to ``rounds`` settings of the bound, each nearer to the target; returns them, the nearest one first.

    Args:
        doubts: the student's own, on the prompts that ``measure`` answers.
        target: the call ratio to reach, above 0.
        n, gap, head: those of the trigger (:func:`~relay_core.evaluate.doubts.trigger_for`).
        measure: answers the prompts with a trigger; returns the call ratio.
        rounds: the most settings to measure.
    """
    done: list[Round] = []
    aim = target
    for _ in range(rounds):
        trigger = trigger_for(doubts, aim, n, gap, head)
        if any(trigger == earlier.trigger for earlier in done):
            break
        done.append(Round(trigger, foretell(doubts, trigger).call_ratio, await measure(trigger)))
        if is_near(done[-1].measured, target, _NEAR):
            break
        aim = _next_aim(done, target)
    return sorted(done, key=lambda earlier: earlier.miss(target))


def _next_aim(done: list[Round], target: float) -> float:
    """The foretold ratio to aim at next: between the nearest rounds on both sides of the target, if there are two."""
    under = max((r for r in done if r.measured < target), key=lambda r: r.foretold, default=None)
    over = min((r for r in done if r.measured > target), key=lambda r: r.foretold, default=None)
    if under is not None and over is not None and 0 < under.foretold < over.foretold:
        part = 0.5
        if under.measured:
            part = math.log(target / under.measured) / math.log(over.measured / under.measured)
        return math.exp(math.log(under.foretold) + part * math.log(over.foretold / under.foretold))
    latest = done[-1]
    factor = target / latest.measured if latest.measured else _MOST
    return max(latest.foretold, 1e-6) * min(_MOST, max(1 / _MOST, factor))
