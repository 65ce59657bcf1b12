"""Whether a relay pays, on prompts that student, relay and teacher have all answered.

A relay's rival is a router that sends some prompts whole to the teacher and answers the others by the student. Drawing
the prompts at random, it can spend any amount between the two models' costs, and its score lies on the line between
theirs. A relay pays if it scores above this line:

    advantage = relay's score - (student's score + share * (teacher's score - student's score))
    share     = (relay's cost - student's cost) / (teacher's cost - student's cost)

The advantage's interval is a bootstrap over the prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from relay_core.evaluate.intervals import Interval, bootstrap


class Pays(StrEnum):
    """Whether the relay pays."""

    YES = "yes"
    NO = "no"
    UNDECIDED = "undecided"  # the sample is too small to tell


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt: the score and the cost of each method."""

    student_score: float
    relay_score: float
    teacher_score: float
    student_cost: float
    relay_cost: float
    teacher_cost: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the relay pays, why, and its advantage over the router; ``None`` where the costs leave no router."""

    pays: Pays
    reason: str
    advantage: float | None = None
    interval: Interval | None = None


def verdict(rows: Sequence[Row], *, score: str, calls: int) -> Verdict:
    """Judge.

    Args:
        rows: at least one prompt.
        score: the name of the score, for the sentence.
        calls: the relay's calls, over all prompts.
    """
    n = len(rows)
    student, relay, teacher = (sum(getattr(r, f"{m}_score") for r in rows) / n for m in ("student", "relay", "teacher"))
    own, cost, full = (sum(getattr(r, f"{m}_cost") for r in rows) / n for m in ("student", "relay", "teacher"))
    if not calls:
        return Verdict(
            Pays.NO,
            "the student never called. It calls only if it was trained or told to (--instructions calculations); "
            "--trigger uncertain:0.4,8 calls where it is unsure, and relay tune finds the numbers",
        )
    if teacher <= student:
        return Verdict(
            Pays.NO, f"the student alone scores {student:.1%}, and the teacher no more ({teacher:.1%}): use the student"
        )
    if full <= own:
        return Verdict(Pays.NO, "at these prices the teacher alone costs no more than the student: use the teacher")
    if cost >= full:
        return Verdict(
            Pays.NO, f"it costs {cost / full:.2f} times as much as the teacher alone, which scores {teacher:.1%}"
        )
    share = max(0.0, (cost - own) / (full - own))
    advantage = relay - (student + share * (teacher - student))
    interval = bootstrap(rows, _advantage)
    rival = (
        f"a router that sends {share:.0%} of the prompts whole to the teacher, at random, costs the same and would "
        f"score {student + share * (teacher - student):.1%}; the relay scores {relay:.1%} (difference "
        f"{100 * advantage:+.1f} points, 95%: {100 * interval[0]:+.1f} to {100 * interval[1]:+.1f})"
    )
    if interval[0] > 0:
        return Verdict(Pays.YES, rival, advantage, interval)
    if interval[1] < 0:
        return Verdict(Pays.NO, rival, advantage, interval)
    return Verdict(Pays.UNDECIDED, f"{n} prompts are too few to tell by {score}: {rival}", advantage, interval)


def _advantage(rows: Sequence[Row]) -> float:
    student, relay, teacher = (
        sum(r.student_score for r in rows),
        sum(r.relay_score for r in rows),
        sum(r.teacher_score for r in rows),
    )
    own, cost, full = (
        sum(r.student_cost for r in rows),
        sum(r.relay_cost for r in rows),
        sum(r.teacher_cost for r in rows),
    )
    share = max(0.0, (cost - own) / (full - own)) if full > own else 1.0
    return (relay - (student + share * (teacher - student))) / len(rows)
