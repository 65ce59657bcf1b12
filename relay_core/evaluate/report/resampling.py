"""Bootstrap intervals (95%, percentile) over problems, which keep the methods' answers to a problem together.

All statistics of a benchmark use the same draws of problems, so a difference between two methods is a paired one.
Problems of one cluster (``Problem.cluster``) are drawn together: a model answers them alike, so they tell less than as
many others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from relay_core.errors import MissingExtraError
from relay_core.evaluate.intervals import Interval

try:
    import numpy as np
except ImportError as error:
    raise MissingExtraError("the intervals of a report (numpy)", "eval") from error

DRAWS = 2000
_AT_A_TIME = 200  # draws in float64, which for 25,000 problems take 40 MB


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its interval."""

    value: float
    interval: Interval

    @property
    def low(self) -> float:
        """The interval's lower end."""
        return self.interval[0]

    @property
    def high(self) -> float:
        """The interval's upper end."""
        return self.interval[1]


class Resampling:
    """Draws of problems with replacement.

    Args:
        problems: the number of problems, at least 1; or the cluster of each problem, empty for one that has none. A
            draw then has as many clusters as there are.
        draws: how many draws.
        seed: decides them.

    ``clusters`` is the number of clusters, a problem without one included.
    """

    def __init__(self, problems: int | Sequence[str], *, draws: int = DRAWS, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        names = [""] * problems if isinstance(problems, int) else problems
        places: dict[str | int, int] = {}  # of each cluster; one that has no name is called by its problem's number
        self._cluster_of = np.asarray([places.setdefault(name or i, len(places)) for i, name in enumerate(names)])
        self.clusters = n = len(places)
        # how often each cluster is drawn, shape [draws, n]: a sum over a draw is a product with it
        self._counts = np.stack(
            [np.bincount(rng.integers(n, size=n), minlength=n).astype(np.uint16) for _ in range(draws)]
        )

    def estimate(self, columns: Sequence[Sequence[float]], statistic: Callable[..., Any]) -> Estimate:
        """A statistic of sums over problems, with its interval.

        Args:
            columns: one value for each problem in each column.
            statistic: a function of one sum per column; it also takes arrays of sums, shape [draws]. A draw for which
                it is not a number is left out.
        """
        values = np.stack([
            np.bincount(self._cluster_of, weights=np.asarray(column, np.float64), minlength=self.clusters)
            for column in columns
        ])  # fmt: skip
        parts = np.array_split(self._counts, max(1, len(self._counts) // _AT_A_TIME))
        sums = np.concatenate([values @ part.T.astype(np.float64) for part in parts], axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = np.asarray(statistic(*sums), dtype=np.float64)
            value = float(statistic(*values.sum(axis=1)))
        drawn = drawn[np.isfinite(drawn)]
        if not len(drawn):
            return Estimate(value, (float("nan"), float("nan")))
        low, high = np.quantile(drawn, [0.025, 0.975])
        return Estimate(value, (float(low), float(high)))


def ratio(numerator: Any, denominator: Any) -> Any:
    """``numerator / denominator``; 0 where the denominator is 0."""
    return np.where(
        np.equal(denominator, 0), 0.0, np.divide(numerator, np.where(np.equal(denominator, 0), 1, denominator))
    )
