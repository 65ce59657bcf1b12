"""Measuring one method on some problems: accuracy by group of problems, calls, tokens and cost.

The methods of the paper's tables:

    student alone     measure(Relay(student, None), task, problems)
    relay             measure(Relay(student, teacher), task, problems)
    teacher alone     measure(Relay(teacher, None), task, problems, written_by="teacher")

``comparison.py`` compares several methods.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from relay_core.concurrency import map_concurrently
from relay_core.engines.base import Engine
from relay_core.engines.transformers import TransformersEngine
from relay_core.evaluate.task import Problem, Task, graded, in_task_order
from relay_core.events import RelayResult
from relay_core.keys import Role
from relay_core.relay import Relay
from relay_core.usage import Usage


@dataclass(frozen=True, slots=True)
class Answered:
    """One problem, the answer to it, and whether the answer is right; ``None`` if it could not be graded."""

    problem: Problem
    result: RelayResult
    correct: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One method's figures over all its answers; shares are between 0 and 1.

    Args:
        problems: the number of problems.
        accuracy: the share of right answers, among those that could be graded.
        bands: the share of right answers in each group of problems, in the task's order of groups.
        call_ratio: teacher tokens divided by all tokens written (1.0 for the teacher alone).
        calls: calls per answer.
        called: the share of answers with a call in each group of problems.
        requested: the mean number of tokens that a call requested; ``None`` without calls.
        answer_tokens: tokens per answer.
        tokens_per_s: tokens written per second, over all answers.
        cost: the cost of all answers; ``None`` without prices.
        seconds: the time from the first request to the end of the last answer.
        usage: the sum of all answers' usage.
        ungraded: how many answers could not be graded; they are in no share of right answers.
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
    ungraded: int = 0

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
        problems: problems of the task.
        written_by: ``"teacher"`` if the relay's student engine is the teacher, measured alone: its tokens and prices
            then count as the teacher's.
        max_concurrency: how many answers run at a time; ``None`` for all of them.
        on_answer: called with each answer when it is complete, to show progress.
        overrides: settings to replace, by name (:class:`~relay_core.settings.RelaySettings`).

    Raises:
        EngineError: an engine failed; a failure is never counted as a wrong answer.
    """
    settings = relay.settings.merged(overrides)
    await relay.start()
    empty_caches(*(engine for engine in (relay.student, relay.teacher) if engine is not None))
    began = time.monotonic()
    answers: list[Answered] = []

    async def answer(problem: Problem) -> None:
        result = await relay.agenerate(problem.messages, **overrides)
        answered = Answered(problem, result, graded(task, result.text, problem))
        answers.append(answered)
        if on_answer is not None:
            on_answer(answered)

    await map_concurrently(answer, problems, limit=max_concurrency)
    measured = summarize(answers, task.groups, seconds=time.monotonic() - began)
    if written_by == "teacher":
        usage = as_teacher(measured.usage)
        measured = replace(measured, usage=usage, call_ratio=usage.call_ratio)
    return measured if settings.prices is None else replace(measured, cost=measured.usage.cost(settings.prices))


def empty_caches(*engines: Engine) -> None:
    """Empty the caches of started models on transformers, so that a method gains by no earlier method's prompts.

    vLLM and servers keep theirs.
    """
    for engine in engines:
        if isinstance(engine, TransformersEngine):
            engine.weights_changed()


def summarize(answers: Sequence[Answered], groups: Sequence[str], *, seconds: float) -> Measured:
    """The figures of graded answers.

    Args:
        answers: the graded answers of one method.
        groups: the task's groups, in the order in which reports show them.
        seconds: the time from the first request to the end of the last answer.
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
        accuracy=_right([answer.correct for answer in answers]),
        bands={group: _right([a.correct for a in by_group[group]]) for group in ordered},
        call_ratio=usage.call_ratio,
        calls=usage.calls / n,
        called={group: _share([a.result.usage.calls > 0 for a in by_group[group]]) for group in ordered},
        requested=sum(requested) / len(requested) if requested else None,
        answer_tokens=usage.completion_tokens / n,
        tokens_per_s=usage.completion_tokens / seconds if seconds > 0 else 0.0,
        cost=None,
        seconds=seconds,
        usage=usage,
        ungraded=sum(answer.correct is None for answer in answers),
    )


def _right(values: Sequence[bool | None]) -> float:
    """The share of right answers among those that could be graded; 0 if there is none."""
    return sum(value is True for value in values) / max(1, sum(value is not None for value in values))


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values)


def as_teacher(usage: Usage) -> Usage:
    """The usage of a teacher that answered alone, in the role of a student: all its tokens become teacher tokens."""
    return Usage(
        prompt_tokens=usage.prompt_tokens,
        teacher_tokens=usage.completion_tokens,
        teacher_prompt_tokens=usage.student_prompt_tokens,
        teacher_cached_tokens=usage.student_cached_tokens,
    )
