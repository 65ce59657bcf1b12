"""Sampling: the answers that one model, without calls, gives to many problems.

Answers go to a journal as they are completed, so that a run that was killed resumes without asking again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from relay_core import portal
from relay_core.concurrency import map_concurrently
from relay_core.evaluate.task import Problem
from relay_core.events import FinishReason, RelayResult
from relay_core.relay import Relay
from relay_core.train.progress import Progress
from relay_core.train.store import Journal


@dataclass(frozen=True, slots=True)
class Sample:
    """One of the student's own answers, as the ids that it sampled, the end token included."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]


def sample(relay: Relay, problems: Sequence[Problem], journal: Journal, *, temperature: float) -> list[Sample]:
    """The student's own answers, one a problem.

    An answer that ran into a limit is left out: it has no end to train on.

    Args:
        relay: its student is sampled.
        journal: one row an answer; problems that it holds are not sampled again.
    """
    sampled = {row["i"] for row in journal.rows}

    def keep(i: int, result: RelayResult) -> bool:
        row = result.transcript.training_row()
        ended = result.finish_reason is FinishReason.STOP
        journal.append({"i": i, "ended": ended, "prompt_ids": list(row.prompt_ids), "token_ids": list(row.token_ids)})
        return True

    missing = [(i, problem) for i, problem in enumerate(problems) if i not in sampled]
    answer_all(relay, missing, keep, label="samples", total=len(problems), done=len(sampled), temperature=temperature)
    ended = sorted((row for row in journal.rows if row["ended"]), key=lambda row: row["i"])
    return [Sample(tuple(row["prompt_ids"]), tuple(row["token_ids"])) for row in ended]


def answer_all(
    relay: Relay,
    jobs: Sequence[tuple[int, Problem]],
    take: Callable[[int, RelayResult], bool],
    *,
    label: str,
    total: int,
    done: int,
    limit: int = 128,
    **overrides: Any,
) -> None:
    """Answer problems concurrently, with calls refused, and show progress.

    Args:
        jobs: the number of each problem and the problem, which may be there several times.
        take: called with a job's number and its answer; returns whether that completes a step of the progress.
        label: names the progress.
        total: its number of steps.
        done: steps that an earlier run did.
        limit: at most so many answers at a time.
        overrides: any of :class:`~relay_core.settings.RelaySettings`, for every answer.

    Raises:
        EngineError: the engine failed; answers taken before are kept.
    """

    async def run() -> None:
        with Progress(label, total, done=done) as progress:

            async def answer(job: tuple[int, Problem]) -> None:
                i, problem = job
                messages = [dict(message) for message in problem.messages]
                if take(i, await relay.agenerate(messages, calls=False, **overrides)):
                    progress.step()

            await map_concurrently(answer, jobs, limit=limit)

    if jobs:
        portal.run(run)
