"""Methods against each other, problem by problem: paired differences, the gap that is recovered, and the random router.

The random router sends whole prompts to the teacher with probability p, and the others to the student; its expectation
is linear in p, so no answers of its own are needed:

    accuracy(p) = student + p (teacher - student)          tokens(p), cost(p) likewise

*Performance-matched*: the p at which it is as accurate as a method, and the teacher tokens that it needs there.
*Cost-matched*: the p at which it needs as many teacher tokens as a method (or costs as much), and its accuracy there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from relay_core.evaluate.report.figures import Answers
from relay_core.evaluate.report.resampling import Estimate, Resampling, ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A method against the relay: accuracy and call ratio of the relay minus those of the method."""

    method: str
    label: str
    accuracy: Estimate
    call_ratio: Estimate
    cost: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class AgainstRouter:
    """A method against the random router.

    ``recovered``: (method - student) / (teacher - student), in accuracy. ``share``: the share of prompts that the
    router sends to the teacher for the method's accuracy, at most all. ``saved``: 1 - (the method's teacher tokens) /
    (the router's), there; not a number for a method that is no better than the student. ``gain``: the method's accuracy
    minus the router's at the same teacher tokens; ``gain_at_cost``: at the same cost.
    """

    method: str
    label: str
    recovered: Estimate
    share: Estimate
    saved: Estimate
    gain: Estimate
    gain_at_cost: Estimate


def difference(relay: Answers, other: Answers, resampling: Resampling) -> Difference:
    """The relay minus another method, on the problems that both answered."""
    relay, other = relay.among(other), other.among(relay)

    def gap(a: Any, b: Any, c: Any, d: Any) -> Any:
        return ratio(a, b) - ratio(c, d)

    return Difference(
        method=other.records[0].method,
        label=other.records[0].label,
        accuracy=resampling.estimate([relay.right, relay.graded, other.right, other.graded], gap),
        call_ratio=resampling.estimate([relay.teacher, relay.written, other.teacher, other.written], gap),
        cost=resampling.estimate([relay.cost, relay.count, other.cost, other.count], gap),
    )


def against_router(method: Answers, student: Answers, teacher: Answers, resampling: Resampling) -> AgainstRouter:
    """A method against the router between the student and the teacher alone, on the problems that it answered."""
    student, teacher = student.among(method), teacher.among(method)
    columns: Sequence[Sequence[float]] = [
        method.right, method.graded, student.right, student.graded, teacher.right, teacher.graded,
        method.teacher, teacher.teacher, method.count, teacher.count,
        method.cost, student.cost, teacher.cost, student.count,
    ]  # fmt: skip

    def accuracies(s: Sequence[Any]) -> tuple[Any, Any, Any]:
        return ratio(s[0], s[1]), ratio(s[2], s[3]), ratio(s[4], s[5])

    def recovered(*s: Any) -> Any:
        own, low, high = accuracies(s)
        return np.divide(own - low, high - low)

    def saved(*s: Any) -> Any:
        share = np.minimum(recovered(*s), 1)
        needed = share * ratio(s[7], s[9])
        return np.where(np.greater(share, 0), 1 - np.divide(ratio(s[6], s[8]), needed), np.nan)

    def gain(*s: Any) -> Any:
        own, low, high = accuracies(s)
        share = np.divide(ratio(s[6], s[8]), ratio(s[7], s[9]))
        return own - (low + np.clip(share, 0, 1) * (high - low))

    def gain_at_cost(*s: Any) -> Any:
        own, low, high = accuracies(s)
        cost, cheap, dear = ratio(s[10], s[8]), ratio(s[11], s[13]), ratio(s[12], s[9])
        return own - (low + np.clip(np.divide(cost - cheap, dear - cheap), 0, 1) * (high - low))

    return AgainstRouter(
        method=method.records[0].method,
        label=method.records[0].label,
        recovered=resampling.estimate(columns, recovered),
        share=resampling.estimate(columns, lambda *s: np.clip(recovered(*s), 0, 1)),
        saved=resampling.estimate(columns, saved),
        gain=resampling.estimate(columns, gain),
        gain_at_cost=resampling.estimate(columns, gain_at_cost),
    )
