"""Sampling in this process; ``sampling_over_ray.py`` does the same on many machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from relay_core import portal
from relay_core.concurrency import map_concurrently
from relay_core.evaluate.progress import Progress
from relay_core.events import RelayResult
from relay_core.relay import Relay
from relay_core.train import processes
from relay_core.train.jobs import Job, Row


def local(
    relay: Relay,
    row: Callable[[Job, RelayResult], Row],
    *,
    label: str,
    done: int,
    limit: int,
    **overrides: Any,
) -> Callable[[Sequence[Job], Callable[[Job, Row], None]], None]:
    """Answer jobs in this process, with calls refused: an argument of :meth:`JobFile.run`.

    Args:
        relay: the relay whose student answers.
        row: makes the values of a job's row from its answer.
        label, done: the progress: its name, and the answers that an earlier, killed run sampled. The main process
            shows its own share.
        limit: how many answers run at a time.
        overrides: settings of every answer, by name (:class:`~relay_core.settings.RelaySettings`).

    The function that it returns raises EngineError if the engine failed; all earlier answers are kept.
    """

    def answer_all(jobs: Sequence[Job], keep: Callable[[Job, Row], None]) -> None:
        async def run() -> None:
            with Progress(label, done + len(jobs), done=done, shown=processes.is_main()) as progress:

                async def answer(job: Job) -> None:
                    options = {"calls": False, "seed": job.seed, **overrides}
                    keep(job, row(job, await relay.agenerate(job.problem.messages, **options)))
                    progress.step()

                await map_concurrently(answer, jobs, limit=limit)

        portal.run(run)

    return answer_all
