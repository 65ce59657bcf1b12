"""Functions and an engine for the actors of Ray Data, which import them by name; and a driver that tests kill.

python -m testing.ray_answers FILE    answers the jobs of `jobs()` over Ray, slowly, and keeps the rows in FILE
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relay_core import EngineError, Prompt, Relay, RelayResult, RelaySettings, ScriptedEngine
from relay_core.engines.scripted import Delay, Step
from relay_core.evaluate.ray_data import Cluster
from relay_core.train.jobs import Job, JobFile, Row, jobs_for
from relay_core.train.sampling import sampled_rows
from testing.tasks import problem


@dataclass
class Doubled:
    """Twice the item; raises for the items in ``failing``."""

    failing: Sequence[int] = ()

    async def __call__(self, item: int) -> int:
        if item in self.failing:
            raise EngineError(f"no answer to {item}", role="student")
        return 2 * item


@dataclass
class Meeting:
    """Waits until ``size`` items are there at a time."""

    size: int
    present: list[int] = field(default_factory=list)

    async def __call__(self, item: int) -> int:
        self.present.append(item)
        while len(self.present) < self.size:
            await asyncio.sleep(0.005)
        return item


@dataclass
class Deadly:
    """Ends its process at an item, unless another process has done so ``times`` times before."""

    deadly: int
    times: int
    folder: Path

    async def __call__(self, item: int) -> int:
        deaths = len(list(self.folder.iterdir()))
        if item == self.deadly and deaths < self.times:
            (self.folder / str(deaths)).touch()
            os._exit(1)
        return item


class Echo(ScriptedEngine):
    """Repeats the last message, a name and a number, after ``delay_s`` times this number; delivers no ids."""

    def __init__(self, delay_s: float = 0.0) -> None:
        super().__init__(self._echo, tokenizer=None)
        self._delay_of_each_s = delay_s

    def _echo(self, prompt: Prompt) -> list[Step]:
        message = prompt.messages[-1]["content"]
        return [Delay(self._delay_of_each_s * int(message.split()[-1])), f"you said {message}"]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._delay_of_each_s,)


def jobs() -> list[Job]:
    """48 jobs."""
    return jobs_for([problem(f"number {i}", None) for i in range(24)], 2, run_seed=0, stage="filter")


def row(job: Job, result: RelayResult) -> Row:
    """What an answer says, and the seed that it had."""
    return {"text": result.text, "seed": job.seed}


def rows(path: Path, cluster: Cluster | None, *, delay_s: float = 0.0) -> list[Row]:
    """The rows of :func:`jobs`, kept in ``path``; each answer takes ``delay_s`` longer than the one before."""
    relay = Relay(Echo(delay_s), None, RelaySettings())
    return sampled_rows(JobFile(path, jobs()), relay, row, label="echo", cluster=cluster)


if __name__ == "__main__":
    rows(Path(sys.argv[1]), Cluster(address="local", actors=1), delay_s=1.0)
