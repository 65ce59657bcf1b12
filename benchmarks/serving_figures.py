"""What ``serving.py`` measures: the times of single answers, and the figures of a method that follow from them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Handover(NamedTuple):
    """Seconds from a command's end to the student's next token, and the teacher tokens in between.

    The lock-step loop takes the time until it asks the student again, and gives 0 tokens.
    """

    seconds: float
    tokens: int


@dataclass
class TimedAnswer:
    """One answer and its times.

    Args:
        text: the reader's text.
        student_tokens: tokens that the student wrote, commands included.
        teacher_tokens: tokens that the teacher wrote.
        first_s: seconds until a reader sees something.
        seconds: seconds until the answer's end.
        step_s: mean seconds between two tokens, for a model alone; ``None`` if fewer than two came.
        handovers: the hand-overs after which the student went on.
        teacher_steps_s: for each call, mean seconds between two of the teacher's tokens.
    """

    text: str = ""
    student_tokens: int = 0
    teacher_tokens: int = 0
    first_s: float = 0.0
    seconds: float = 0.0
    step_s: float | None = None
    handovers: list[Handover] = field(default_factory=list)
    teacher_steps_s: list[float] = field(default_factory=list)


@dataclass
class MethodRun:
    """All answers of one method, over all rounds, and the seconds that the rounds took."""

    answers: list[TimedAnswer] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return (self.student_tokens + self.teacher_tokens) / self.seconds

    @property
    def student_tokens(self) -> int:
        """Student tokens of all answers."""
        return sum(answer.student_tokens for answer in self.answers)

    @property
    def teacher_tokens(self) -> int:
        """Teacher tokens of all answers."""
        return sum(answer.teacher_tokens for answer in self.answers)

    @property
    def step_s(self) -> float | None:
        """The median over answers of the time between two tokens."""
        return median_or_none([answer.step_s for answer in self.answers if answer.step_s is not None])

    @property
    def teacher_step_s(self) -> float | None:
        """The median over calls of the time between two of the teacher's tokens."""
        return median_or_none([step_s for answer in self.answers for step_s in answer.teacher_steps_s])


def figures(runs: Mapping[str, MethodRun], name: str) -> dict[str, Any]:
    """The figures of one method.

    Args:
        runs: by name, the runs of all methods of the same pair and number of concurrent requests.
        name: of the method: ``relay``, or ``relay +50 ms`` with a delayed teacher.
    """
    run = runs[name]
    result: dict[str, Any] = {
        "tokens_per_s": round(run.rate, 1),
        "first_token_s": percentiles([answer.first_s for answer in run.answers]),
        "answer_s": percentiles([answer.seconds for answer in run.answers]),
        "answers": len(run.answers),
        "student_tokens": run.student_tokens,
        "teacher_tokens": run.teacher_tokens,
    }
    if name in ("student", "teacher"):
        result["step_s"] = None if run.step_s is None else round(run.step_s, 5)
        return result
    return {**result, **_handover_figures(runs, name), **_comparisons(runs, name)}


def _handover_figures(runs: Mapping[str, MethodRun], name: str) -> dict[str, Any]:
    """Calls, the cost of a hand-over in seconds, and in steps of the student where it was measured alone."""
    run, student = runs[name], runs.get("student")
    is_lockstep = name.startswith("lockstep")
    # Without warming and delay the teacher's tokens come at its own rate, so their time is known best there.
    step_s = runs["relay"].teacher_step_s if "relay" in runs else run.teacher_step_s
    token_s = 0.0 if is_lockstep else step_s or 0.0
    costs_s = [handover.seconds - handover.tokens * token_s for answer in run.answers for handover in answer.handovers]
    result: dict[str, Any] = {"calls": len(costs_s), "handover_s": percentiles(costs_s)}
    if student is not None and student.step_s and costs_s and not is_lockstep:
        result["handover_steps"] = round(statistics.fmean(costs_s) / student.step_s - 1, 2)
    return result


def _comparisons(runs: Mapping[str, MethodRun], name: str) -> dict[str, Any]:
    """The run against both models alone, and against lock-step with the same delay, where these were measured."""
    run, student, teacher = runs[name], runs.get("student"), runs.get("teacher")
    result: dict[str, Any] = {}
    if student is not None and teacher is not None:
        ideal_s = run.student_tokens / student.rate + run.teacher_tokens / teacher.rate
        result["ratio_to_ideal"] = round(ideal_s / run.seconds, 3)
    method, *_ = name.split()
    lockstep = runs.get(name.replace(method, "lockstep", 1))
    if lockstep is not None and lockstep is not run:
        same = [answer.text == other.text for answer, other in zip(run.answers, lockstep.answers, strict=True)]
        result["over_lockstep"] = round(run.rate / lockstep.rate, 3)
        result["same_answers_as_lockstep"] = round(sum(same) / len(same), 3)
    return result


def percentiles(values: Sequence[float]) -> dict[str, float] | None:
    """p50 and p95; ``None`` without values."""
    if not values:
        return None
    ordered = sorted(values)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return {"p50": round(statistics.median(ordered), 4), "p95": round(p95, 4)}


def median_or_none(values: Sequence[float]) -> float | None:
    """The median; ``None`` without values."""
    return statistics.median(values) if values else None
