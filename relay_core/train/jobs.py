"""Jobs: many answers to sample, by one process or several, each kept as soon as it is there.

    NAME.jsonl             all rows in the order of the jobs; written when the last answer is there
    NAME.parts/part-0.jsonl   the rows of one process, in the order in which they came; removed afterwards

A killed run begins where it was: it reads the parts of all processes, whatever their number was.
"""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay_core import portal
from relay_core.concurrency import map_concurrently
from relay_core.engines.base import Engine
from relay_core.errors import ConfigurationError
from relay_core.evaluate.progress import Progress
from relay_core.evaluate.seeds import answer_seed
from relay_core.evaluate.store import Journal, read_rows, write_rows
from relay_core.evaluate.task import Problem
from relay_core.train import processes

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """One answer to sample: answer ``k`` to problem ``i`` of the stage, with its own seed."""

    i: int
    k: int
    problem: Problem
    seed: int


def jobs_for(problems: Sequence[Problem], samples: int, *, run_seed: int, stage: str) -> list[Job]:
    """``samples`` jobs for each problem, in the order in which their rows will stand."""
    return [
        Job(i, k, problem, answer_seed(run_seed, stage, 0, problem.id, k))
        for i, problem in enumerate(problems)
        for k in range(samples)
    ]


def concurrently(
    answer: Callable[[Job], Awaitable[Row]], *, label: str, limit: int, done: int = 0, engines: Sequence[Engine] = ()
) -> Callable[[Sequence[Job], Callable[[Job, Row], None]], None]:
    """Answers jobs in this process, each kept as soon as it is there: an argument of :meth:`JobFile.run`.

    Args:
        answer: makes the values of a job's row; its errors end the function that is returned.
        label, done: the progress: its name, and the answers of an earlier, killed run. The main process shows its own
            share.
        limit: how many answers run at a time.
        engines: are started before.
    """

    def answer_all(jobs: Sequence[Job], keep: Callable[[Job, Row], None]) -> None:
        async def run() -> None:
            for engine in engines:
                await engine.start()
            with Progress(label, done + len(jobs), done=done, shown=processes.is_main()) as progress:

                async def one(job: Job) -> None:
                    keep(job, await answer(job))
                    progress.step()

                await map_concurrently(one, jobs, limit=limit)

        portal.run(run)

    return answer_all


class JobFile:
    """The rows of some jobs.

    Args:
        path: the file of all rows.
        jobs: the jobs; a row names its job by ``i``, ``k`` and the problem's id as ``key``.

    Raises:
        ConfigurationError: the file holds rows of other problems.
    """

    def __init__(self, path: Path, jobs: Sequence[Job]) -> None:
        self.path, self._jobs = path, jobs
        self._parts = path.with_suffix(".parts")
        self._rows: dict[tuple[int, int], Row] = {}
        by_place = {(job.i, job.k): job for job in jobs}
        for file in [path, *sorted(self._parts.glob("part-*.jsonl"))]:
            for row in read_rows(file):
                job = by_place.get((row["i"], row["k"]))
                if job is None or row["key"] != job.problem.id:
                    raise ConfigurationError(
                        f"{file} holds answers to other problems: choose another --out, or delete the file"
                    )
                self._rows[row["i"], row["k"]] = row

    @property
    def known(self) -> Mapping[tuple[int, int], Row]:
        """The rows that are there, by ``i`` and ``k``."""
        return self._rows

    def run(
        self, answer: Callable[[Sequence[Job], Callable[[Job, Row], None]], None], *, by_main: bool = False
    ) -> list[Row]:
        """Answer the jobs that have no row yet; every process answers its share.

        Args:
            answer: answers jobs, and calls its second argument with each job and the values of its row.
            by_main: the main process answers all of them, because ``answer`` itself shares them out.

        Returns:
            The rows of all jobs, in the order of the jobs, the same in every process.
        """
        missing = [job for job in self._jobs if (job.i, job.k) not in self._rows]
        processes.barrier()  # every process has read the parts before one of them writes
        if by_main:
            mine = missing if processes.is_main() else []
        else:
            mine = missing[processes.rank() :: processes.world_size()]
        if mine:
            journal = Journal(self._parts / f"part-{processes.rank()}.jsonl")

            def keep(job: Job, values: Row) -> None:
                row = {"i": job.i, "k": job.k, "key": job.problem.id, **values}
                journal.append(row)
                self._rows[job.i, job.k] = row

            answer(mine, keep)
        gathered = processes.gather([self._rows[job.i, job.k] for job in mine])
        self._rows |= {(row["i"], row["k"]): row for rows in gathered for row in rows}
        rows = [self._rows[job.i, job.k] for job in self._jobs]
        if processes.is_main() and (missing or not self.path.exists()):
            write_rows(self.path, rows)
            shutil.rmtree(self._parts, ignore_errors=True)
        processes.barrier()
        return rows
