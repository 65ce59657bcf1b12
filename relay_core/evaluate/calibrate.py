"""Find the bound of a trigger, or the bias of commands, at which a relay reaches a call ratio.

The student's own tokens foretell the ratio of each bound (``doubts.py``); the relay's own ratio is then measured,
and the foretold ratio that is aimed at is corrected by what was missed, until the measured one is near the target.

Nothing foretells the ratio of a bias. It is measured at 0, and then further and further on the side of the target,
until the target lies between two biases; the next ones are taken between these.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from relay_core.decoding.triggers import Commands
from relay_core.evaluate.doubts import Bounded, Doubts, foretell, trigger_for

#: how far the measured ratio may be from the target, as a share of it
TOLERANCE = 0.2
_NEAR = 0.07  # where the search ends; the rest of the tolerance is left to other prompts
_STEEP = 3.0  # between biases whose call ratios differ by less than this factor, the next one is interpolated
_FARTHEST = 16.0  # the largest bias that is tried, with either sign
_MOST = 4.0  # the largest correction at a time, where no call was made or far too many


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement: the trigger, the call ratio that the student's tokens foretold (``None`` if nothing can foretell
    it), and the relay's own."""

    trigger: Bounded | Commands
    foretold: float | None
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
    foretold = [(r.foretold or 0.0, r.measured) for r in done]
    under = max((both for both in foretold if both[1] < target), default=None)
    over = min((both for both in foretold if both[1] > target), default=None)
    if under is not None and over is not None and 0 < under[0] < over[0]:
        part = math.log(target / under[1]) / math.log(over[1] / under[1]) if under[1] else 0.5
        return math.exp(math.log(under[0]) + part * math.log(over[0] / under[0]))
    latest, measured = foretold[-1]
    factor = target / measured if measured else _MOST
    return max(latest, 1e-6) * min(_MOST, max(1 / _MOST, factor))


async def calibrate_bias(
    commands: Commands, target: float, *, measure: Callable[[Commands], Awaitable[float]], rounds: int = 9
) -> list[Round]:
    """Measure up to ``rounds`` biases of ``commands``, each nearer to the target; returns them, the nearest one first.

    Args:
        commands: the trigger; its own bias is replaced.
        target: the call ratio to reach, above 0.
        measure: answers the prompts with a trigger; returns the call ratio.
        rounds: the most biases to measure.
    """
    done: list[Round] = []
    trigger = replace(commands, bias=0.0)
    while len(done) < rounds and not any(trigger == earlier.trigger for earlier in done):
        done.append(Round(trigger, None, await measure(trigger)))
        if is_near(done[-1].measured, target, _NEAR):
            break
        trigger = bias_for(commands, done, target)
    return sorted(done, key=lambda earlier: earlier.miss(target))


def bias_for(commands: Commands, done: Sequence[Round], target: float) -> Commands:
    """``commands`` with the bias at which the measurements ``done`` let one expect the call ratio ``target``.

    Outside of what was measured, it is further out than the outermost bias: by 1, or by as much as that is from 0.
    """
    measured = sorted((r.trigger.bias, r.measured) for r in done if isinstance(r.trigger, Commands))
    under = max((both for both in measured if both[1] <= target), default=None)
    over = min((both for both in measured if both[1] >= target), default=None)
    if under is None:
        bias = min(measured[0][0] - 1, 2 * measured[0][0])
    elif over is None:
        bias = max(measured[-1][0] + 1, 2 * measured[-1][0])
    elif under[0] < over[0]:
        part = 0.5  # far apart, there may be an edge between them: a sure student drops most of its calls at once
        if under[1] < over[1] < _STEEP * under[1]:
            part = math.log(target / under[1]) / math.log(over[1] / under[1])
        bias = under[0] + min(0.9, max(0.1, part)) * (over[0] - under[0])
    else:  # measured by chance in the wrong order, or the very target
        bias = (under[0] + over[0]) / 2
    return replace(commands, bias=round(min(_FARTHEST, max(-_FARTHEST, bias)), 2))
