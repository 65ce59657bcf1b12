"""Sampling: the answers of one model, without calls, to many problems.

Each answer is written to a journal when it is complete, so that a run that resumes does not sample it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from relay_core import portal
from relay_core.concurrency import map_concurrently
from relay_core.evaluate.progress import Progress
from relay_core.evaluate.store import Journal
from relay_core.evaluate.task import Problem
from relay_core.events import FinishReason, RelayResult
from relay_core.relay import Relay


@dataclass(frozen=True, slots=True)
class Sample:
    """One of the student's own answers: the prompt's ids, and the ids that it sampled, the end token included."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]


def sample(relay: Relay, problems: Sequence[Problem], journal: Journal, *, temperature: float) -> list[Sample]:
    """Sample the student's own answers, one per problem.

    An answer that a limit cut off is left out, because it has no end token to train on.

    Args:
        relay: the relay whose student is sampled.
        problems: the problems to answer.
        journal: receives one row per answer. Problems that are already in the journal are not sampled again.
        temperature: the student's temperature.
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
    on_answer: Callable[[int, RelayResult], bool],
    *,
    label: str,
    total: int,
    done: int,
    limit: int = 128,
    **overrides: Any,
) -> None:
    """Answer problems concurrently, with calls refused, and show progress.

    Args:
        relay: the relay whose student answers.
        jobs: problems, each with its index; a problem may occur several times.
        on_answer: called with a problem's index and an answer; returns whether the answer completes a step of the
            progress.
        label: the name of the progress.
        total: the number of steps of the progress.
        done: the steps that an earlier, killed run completed.
        limit: how many answers run at a time.
        overrides: settings of every answer, by name (:class:`~relay_core.settings.RelaySettings`).

    Raises:
        EngineError: the engine failed; ``on_answer`` has been called with all earlier answers.
    """

    async def run() -> None:
        with Progress(label, total, done=done) as progress:

            async def answer(job: tuple[int, Problem]) -> None:
                i, problem = job
                if on_answer(i, await relay.agenerate(problem.messages, calls=False, **overrides)):
                    progress.step()

            await map_concurrently(answer, jobs, limit=limit)

    if jobs:
        portal.run(run)
