"""One method on one set of problems: accuracy by band, and what it cost.

Shared by `relay demo` and by the end of training. The methods of the paper's tables, and how each is asked for:

    student alone     measure(relay, problems, calls=False)
    relay             measure(relay, problems)
    teacher alone     measure(Relay(teacher, None), problems, written_by="teacher")

Benchmarks, baselines and reports are elsewhere.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from relay_core.concurrency import map_concurrently
from relay_core.events import RelayResult
from relay_core.relay import Relay
from relay_core.usage import Usage


class Problem(Protocol):
    """What a problem must have; the bundled task's are such."""

    @property
    def messages(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def answer(self) -> Any: ...
    @property
    def band(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Answered:
    """One problem's answer and whether it is right."""

    problem: Problem
    result: RelayResult
    correct: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One method's figures; shares are between 0 and 1.

    ``bands``: accuracy by band. ``call_ratio``: teacher tokens of all tokens written, over all answers (1.0 for
    the teacher alone). ``calls``: hand-overs per answer. ``called``: share of a band's answers with a call.
    ``requested``: mean n of the calls made. ``cost``: of all answers; ``None`` without prices.
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
        """For JSON."""
        names = [n for n in self.__slots__ if n != "usage"]
        return {**{n: getattr(self, n) for n in names}, "usage": self.usage.as_dict()}


async def measure(
    relay: Relay,
    problems: Sequence[Problem],
    *,
    grade: Callable[[str, Any], bool] | None = None,
    written_by: Literal["student", "teacher"] = "student",
    max_concurrency: int | None = 64,
    on_answer: Callable[[Answered], None] | None = None,
    **overrides: Any,
) -> Measured:
    """Answer every problem (greedily, unless the settings say otherwise) and add up.

    Args:
        grade: whether a text holds the answer; default: the bundled task's.
        written_by: whose tokens and prices the leading engine's are: ``"teacher"`` for the teacher alone.
        on_answer: called with each answer as it is done, for progress.
        overrides: any of :class:`~relay_core.settings.RelaySettings`.

    Raises:
        EngineError: an engine failed; an error is never an answer.
    """
    if grade is None:
        from relay_core.bundled.task import grade as grade_boxed

        grade = grade_boxed
    judge = grade
    settings = relay.settings.merged(overrides)
    await relay.start()
    began = time.monotonic()
    answered: list[Answered] = []

    def done(problem: Problem, result: RelayResult) -> None:
        answered.append(Answered(problem, result, judge(result.text, problem.answer)))
        if on_answer is not None:
            on_answer(answered[-1])

    async def one(problem: Problem) -> None:
        done(problem, await relay.agenerate([dict(m) for m in problem.messages], **overrides))

    await map_concurrently(one, problems, limit=max_concurrency)
    measured = summarize(answered, seconds=time.monotonic() - began)
    if written_by == "teacher":
        usage = as_teacher(measured.usage)
        measured = replace(measured, usage=usage, call_ratio=usage.call_ratio)
    return measured if settings.prices is None else replace(measured, cost=measured.usage.cost(settings.prices))


def summarize(answered: Sequence[Answered], *, seconds: float) -> Measured:
    """Add up answers that are already graded; ``seconds`` is the time that all of them took together."""
    by_band: dict[str, list[Answered]] = defaultdict(list)
    for a in answered:
        by_band[a.problem.band].append(a)
    usage = Usage.total(a.result.usage for a in answered)
    asked = [c.requested for a in answered for c in a.result.calls]
    n = max(1, len(answered))
    bands = sorted(by_band, key=lambda b: (_ORDER.get(b, len(_ORDER)), b))
    return Measured(
        problems=len(answered),
        accuracy=sum(a.correct for a in answered) / n,
        bands={b: _share([a.correct for a in by_band[b]]) for b in bands},
        call_ratio=usage.call_ratio,
        calls=usage.calls / n,
        called={b: _share([a.result.usage.calls > 0 for a in by_band[b]]) for b in bands},
        requested=sum(asked) / len(asked) if asked else None,
        answer_tokens=usage.completion_tokens / n,
        tokens_per_s=usage.completion_tokens / seconds if seconds > 0 else 0.0,
        cost=None,
        seconds=seconds,
        usage=usage,
    )


_ORDER = {"easy": 0, "medium": 1, "hard": 2}


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values)


def as_teacher(usage: Usage) -> Usage:
    """The same usage where the teacher led: its tokens and its reading, at its prices."""
    return Usage(
        prompt_tokens=usage.prompt_tokens,
        teacher_tokens=usage.completion_tokens,
        teacher_prompt_tokens=usage.student_prompt_tokens,
        teacher_cached_tokens=usage.student_cached_tokens,
    )
