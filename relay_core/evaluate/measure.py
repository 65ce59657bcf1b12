"""One method on one set of problems: accuracy by group, calls, tokens and cost.

The methods of the paper's tables:

    student alone     measure(Relay(student, None), task, problems)
    relay             measure(Relay(student, teacher), task, problems)
    teacher alone     measure(Relay(teacher, None), task, problems, written_by="teacher")

``comparison.py`` puts methods side by side.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from relay_core.concurrency import map_concurrently
from relay_core.evaluate.task import Problem, Task, in_task_order
from relay_core.events import RelayResult
from relay_core.keys import Role
from relay_core.relay import Relay
from relay_core.usage import Usage


@dataclass(frozen=True, slots=True)
class Answered:
    """One problem's answer, and whether it is right."""

    problem: Problem
    result: RelayResult
    correct: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One method's figures over all its answers; shares are between 0 and 1.

    Args:
        problems: how many problems were answered.
        accuracy: share of right answers.
        bands: share of right answers by group, in the task's order of groups.
        call_ratio: teacher tokens divided by all tokens written (1.0 for the teacher alone).
        calls: calls per answer.
        called: by group, the share of answers with a call.
        requested: mean n of the calls that were made; ``None`` without calls.
        answer_tokens: tokens per answer.
        tokens_per_s: tokens written per second, all answers together.
        cost: of all answers together; ``None`` without prices.
        seconds: what all answers together took.
        usage: the sum of all answers' usage.
    """

    problems: int
    accuracy: float
    bands: dict[str, float]
    call_ratio: float
    calls: float
    called: dict[str, float]
    requested: float | None
    answer_tokens: float
    tokens_per_s: float
    cost: float | None
    seconds: float
    usage: Usage

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**{f.name: getattr(self, f.name) for f in fields(self)}, "usage": self.usage.as_dict()}


async def measure(
    relay: Relay,
    task: Task,
    problems: Sequence[Problem],
    *,
    written_by: Role = "student",
    max_concurrency: int | None = 64,
    on_answer: Callable[[Answered], None] | None = None,
    **overrides: Any,
) -> Measured:
    """Answer every problem with the relay (greedily, unless the settings say otherwise) and add up the figures.

    Args:
        relay: the models; a relay without a teacher answers with its student engine alone.
        task: grades the answers.
        problems: the task's.
        written_by: whether the leading engine's tokens and prices are the student's, or the teacher's: ``"teacher"``
            measures the teacher alone.
        max_concurrency: at most so many answers at a time.
        on_answer: called with each answer when it is complete, to show progress.
        overrides: any of :class:`~relay_core.settings.RelaySettings`.

    Raises:
        EngineError: an engine failed; a failure is never counted as a wrong answer.
    """
    settings = relay.settings.merged(overrides)
    await relay.start()
    began = time.monotonic()
    answers: list[Answered] = []

    async def answer(problem: Problem) -> None:
        result = await relay.agenerate([dict(message) for message in problem.messages], **overrides)
        graded = Answered(problem, result, task.grade(result.text, problem))
        answers.append(graded)
        if on_answer is not None:
            on_answer(graded)

    await map_concurrently(answer, problems, limit=max_concurrency)
    measured = summarize(answers, task.groups, seconds=time.monotonic() - began)
    if written_by == "teacher":
        usage = as_teacher(measured.usage)
        measured = replace(measured, usage=usage, call_ratio=usage.call_ratio)
    return measured if settings.prices is None else replace(measured, cost=measured.usage.cost(settings.prices))


def summarize(answers: Sequence[Answered], groups: Sequence[str], *, seconds: float) -> Measured:
    """The figures of graded answers.

    Args:
        answers: any number of them.
        groups: the task's, in the order in which figures are shown.
        seconds: the time that all answers together took.
    """
    by_group: dict[str, list[Answered]] = defaultdict(list)
    for answer in answers:
        by_group[answer.problem.group].append(answer)
    ordered = in_task_order(by_group, groups)
    usage = Usage.total(answer.result.usage for answer in answers)
    requested = [call.requested for answer in answers for call in answer.result.calls]
    n = max(1, len(answers))
    return Measured(
        problems=len(answers),
        accuracy=sum(answer.correct for answer in answers) / n,
        bands={group: _share([a.correct for a in by_group[group]]) for group in ordered},
        call_ratio=usage.call_ratio,
        calls=usage.calls / n,
        called={group: _share([a.result.usage.calls > 0 for a in by_group[group]]) for group in ordered},
        requested=sum(requested) / len(requested) if requested else None,
        answer_tokens=usage.completion_tokens / n,
        tokens_per_s=usage.completion_tokens / seconds if seconds > 0 else 0.0,
        cost=None,
        seconds=seconds,
        usage=usage,
    )


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values)


def as_teacher(usage: Usage) -> Usage:
    """The usage of a teacher that led alone: the leading engine's tokens and prompts, counted as the teacher's."""
    return Usage(
        prompt_tokens=usage.prompt_tokens,
        teacher_tokens=usage.completion_tokens,
        teacher_prompt_tokens=usage.student_prompt_tokens,
        teacher_cached_tokens=usage.student_cached_tokens,
    )
