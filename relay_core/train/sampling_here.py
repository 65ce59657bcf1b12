"""Sampling in this process; ``sampling_over_ray.py`` does the same on many machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from relay_core.events import RelayResult
from relay_core.relay import Relay
from relay_core.train.jobs import Job, Row, concurrently


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

    async def answer(job: Job) -> Row:
        options = {"calls": False, "seed": job.seed, **overrides}
        return row(job, await relay.agenerate(job.problem.messages, **options))

    return concurrently(answer, label=label, limit=limit, done=done)
