"""Sampling: the answers of one model, without calls, to many problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay_core import portal
from relay_core.concurrency import map_concurrently
from relay_core.evaluate.progress import Progress
from relay_core.events import FinishReason, RelayResult
from relay_core.relay import Relay
from relay_core.train import processes
from relay_core.train.jobs import Job, JobFile, Row

LIMIT = 128
"""How many answers run at a time."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One of the student's own answers: the prompt's ids, and the ids that it sampled, the end token included."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]


def sample(relay: Relay, jobs: Sequence[Job], path: Path, *, temperature: float) -> list[Sample]:
    """Sample the student's own answers.

    An answer that a limit cut off is left out, because it has no end token to train on.

    Args:
        relay: the relay whose student is sampled, without top_p and top_k.
        jobs: the answers to sample.
        path: the file for one row per answer. Answers that are there, or in its parts, are not sampled again.
        temperature: the student's temperature.
    """

    def row(job: Job, result: RelayResult) -> Row:
        training = result.transcript.training_row()
        ended = result.finish_reason is FinishReason.STOP
        return {"ended": ended, "prompt_ids": list(training.prompt_ids), "token_ids": list(training.token_ids)}

    file = JobFile(path, jobs)
    sampling: dict[str, Any] = {"temperature": temperature, "top_p": 1.0, "top_k": None}
    rows = file.run(local(relay, row, label="samples", done=len(file.known), **sampling))
    return [Sample(tuple(r["prompt_ids"]), tuple(r["token_ids"])) for r in rows if r["ended"]]


def local(
    relay: Relay,
    row: Callable[[Job, RelayResult], Row],
    *,
    label: str,
    done: int = 0,
    limit: int = LIMIT,
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
