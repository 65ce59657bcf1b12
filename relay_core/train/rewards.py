"""What a sampled answer earns, one group (the answers sampled for one prompt) at a time (paper, section 3.3).

rho is the answer's call ratio: the teacher tokens that were received (not those requested; docs/method.md, fault 8),
divided by all tokens of the answer.

    simple              correct - rho

    difficulty-aware    correct,  correct,  wrong,    wrong,
                        no call   call      no call   call
    student-solvable    1.5       1 - rho    0         0      some answer is correct without a call
    teacher-dependent    -        1 - rho   -1         0      some answer is correct, but only with a call
    teacher-unsolvable   -         -         0        rho     no answer is correct

Pure functions of outcomes: no tensors, no text, no state between groups (docs/method.md, fault 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer's outcome: whether it is right, whether the teacher was called, and its call ratio (rho)."""

    correct: bool
    called: bool
    call_ratio: float


class Scenario(StrEnum):
    """How hard a group's prompt is for the student and the teacher, judged by the group's answers."""

    STUDENT_SOLVABLE = "student-solvable"
    TEACHER_DEPENDENT = "teacher-dependent"
    TEACHER_UNSOLVABLE = "teacher-unsolvable"


def scenario(outcomes: Sequence[Outcome]) -> Scenario:
    """The scenario of one group.

    Raises:
        ValueError: the group is empty.
    """
    if not outcomes:
        raise ValueError("a group without answers has no scenario")
    if any(o.correct and not o.called for o in outcomes):
        return Scenario.STUDENT_SOLVABLE
    if any(o.correct for o in outcomes):
        return Scenario.TEACHER_DEPENDENT
    return Scenario.TEACHER_UNSOLVABLE


def simple(outcomes: Sequence[Outcome]) -> list[float]:
    """``correct - rho`` for each answer."""
    return [float(o.correct) - o.call_ratio for o in outcomes]


def difficulty_aware(
    outcomes: Sequence[Outcome], *, independence_bonus: bool = True, exploration: bool = True
) -> list[float]:
    """The table above for each answer of one group.

    Args:
        independence_bonus: without it, a correct answer without a call earns 1 (``1 - rho`` at rho = 0), not 1.5.
        exploration: without it, an answer with a call to a prompt that no answer solved earns 0, not rho. (The -1 in
            teacher-dependent groups stays: a call is known to have worked there, so nothing is explored.)

    Raises:
        ValueError: the group is empty.
    """
    kind = scenario(outcomes)
    return [_cell(kind, outcome, independence_bonus, exploration) for outcome in outcomes]


def _cell(kind: Scenario, outcome: Outcome, independence_bonus: bool, exploration: bool) -> float:
    if outcome.correct:
        if outcome.called:
            return 1.0 - outcome.call_ratio
        return 1.5 if independence_bonus else 1.0
    if kind is Scenario.TEACHER_DEPENDENT and not outcome.called:
        return -1.0
    if kind is Scenario.TEACHER_UNSOLVABLE and outcome.called and exploration:
        return outcome.call_ratio
    return 0.0
