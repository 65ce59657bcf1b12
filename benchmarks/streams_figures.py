"""What ``streams.py`` measures: outcomes of requests, and samples of this process's resources in between."""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil


class Sample(NamedTuple):
    """The resources of this process after ``done`` requests."""

    done: int
    memory_mb: float
    descriptors: int
    tasks: int


@dataclass
class Streams:
    """The outcomes of all requests.

    Args:
        right: the number of answers that are as they must be.
        calls: the calls of all answers.
        tokens: the tokens of all answers.
        wrong: for each other request, the reason why it is not right.
        first_s: seconds until each answer's first text.
        samples: the samples, in order.
    """

    right: int = 0
    calls: int = 0
    tokens: int = 0
    wrong: list[str] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    @property
    def done(self) -> int:
        """The number of requests that have ended."""
        return self.right + len(self.wrong)

    def take_sample(self) -> None:
        """Sample this process now."""
        process = psutil.Process()
        memory_mb = process.memory_info().rss / 1e6
        self.samples.append(Sample(self.done, memory_mb, process.num_fds(), len(asyncio.all_tasks())))

    @property
    def growth(self) -> float | None:
        """The rise of memory over the second half, as a share of its size, per 10,000 requests.

        ``None`` if the second half has too few samples for a straight line.
        """
        later = [sample for sample in self.samples if sample.done >= self.samples[-1].done / 2]
        if len({sample.done for sample in later}) < 2:
            return None
        line = statistics.linear_regression([sample.done for sample in later], [sample.memory_mb for sample in later])
        return line.slope * 10_000 / statistics.fmean(sample.memory_mb for sample in later)
