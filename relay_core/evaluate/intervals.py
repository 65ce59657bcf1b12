"""Confidence intervals at 95%: of a share (Wilson), and of any statistic of a sample (bootstrap)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
Interval = tuple[float, float]

_Z = 1.959964  # the normal distribution's quantile of 0.975


def wilson(successes: float, n: int) -> Interval:
    """The interval of a share, by Wilson's score; it is sensible for shares of 0 and 1 too.

    Args:
        successes: how many of ``n`` trials succeeded.
        n: the number of trials; without trials the interval is (0, 1).
    """
    if not n:
        return 0.0, 1.0
    p, z2 = successes / n, _Z * _Z / n
    centre, half = (p + z2 / 2) / (1 + z2), _Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n)) / (1 + z2)
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap(
    sample: Sequence[T], statistic: Callable[[Sequence[T]], float], *, draws: int = 1000, seed: int = 0
) -> Interval:
    """The percentile bootstrap interval of a statistic (Efron, 1979). The same arguments give the same interval.

    Args:
        sample: the observations, such as one tuple of figures per prompt, which keeps pairs together.
        statistic: a function of a sample of the same size, drawn from this one with replacement.
        draws: how many samples to draw.
        seed: decides the draws.
    """
    rng = random.Random(f"relay-bootstrap/{seed}")
    values = sorted(statistic(rng.choices(sample, k=len(sample))) for _ in range(draws))
    return values[round(0.025 * (draws - 1))], values[round(0.975 * (draws - 1))]
