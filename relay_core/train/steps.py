"""A journal of steps, so that a killed run repeats no step.

A run that resumes begins each procedure (``guided.py``) anew, and takes the steps that are in the journal from there.
Each process writes its own journal and reads those of all processes.
"""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from relay_core.errors import ConfigurationError
from relay_core.evaluate.store import Journal, read_rows
from relay_core.train import processes
from relay_core.train.jobs import Job


class Steps:
    """The steps of many procedures, one for each job.

    Args:
        folder: holds the journals, ``part-RANK.jsonl``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._journal: Journal | None = None
        rows = [row for file in sorted(folder.glob("part-*.jsonl")) for row in read_rows(file)]
        self._rows = {(row["i"], row["k"], row["number"], row["what"]): row for row in rows}
        processes.barrier()  # every process has read the journals before one of them writes

    async def step(self, job: Job, number: int, what: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """The value of a step, once: from the journal, or from ``work``, whose value is written there.

        Args:
            job: whose step it is.
            number, what: the step's name within the job.
            work: works the value out; a value that JSON returns as it was.

        Raises:
            ConfigurationError: the journal was written for other problems.
        """
        row = self._rows.pop((job.i, job.k, number, what), None)
        if row is not None and row["key"] != job.problem.id:
            raise ConfigurationError(
                f"{self._folder} holds answers to other problems: choose another --out, or delete the folder"
            )
        if row is None:
            value = await work()
            row = {"i": job.i, "k": job.k, "key": job.problem.id, "number": number, "what": what, "value": value}
            if self._journal is None:
                self._journal = Journal(self._folder / f"part-{processes.rank()}.jsonl")
            self._journal.append(row)
        return row["value"]

    def remove(self) -> None:
        """Delete the journals: what they led to is in another file."""
        shutil.rmtree(self._folder, ignore_errors=True)
