"""What a sampled answer earns, one group (the answers sampled for one prompt) at a time (paper, section 3.3).

rho is the answer's call ratio: the teacher tokens that *came*, not those that were asked for, of all its tokens.

    simple              correct - rho

    difficulty-aware    correct,  correct,  wrong,    wrong,
                        no call   call      no call   call
    student-solvable    1.5       1 - rho    0         0      some answer is correct without a call
    teacher-dependent    -        1 - rho   -1         0      some answer is correct, but only with a call
    teacher-unsolvable   -         -         0        rho     no answer is correct

Pure functions of outcomes: no tensors, no text, no state between groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one answer ended. ``called``: the teacher was called; ``call_ratio``: rho, by the tokens that came."""

    correct: bool
    called: bool
    call_ratio: float


class Scenario(StrEnum):
    """What a group says of its prompt."""

    STUDENT_SOLVABLE = "student-solvable"
    TEACHER_DEPENDENT = "teacher-dependent"
    TEACHER_UNSOLVABLE = "teacher-unsolvable"


def scenario(outcomes: Sequence[Outcome]) -> Scenario:
    """The scenario of one group.

    Raises:
        ValueError: an empty group says nothing.
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
        independence_bonus: without it, a correct answer without a call earns what ``1 - rho`` gives at rho = 0: 1.
        exploration: without it, a call on a prompt that nobody solved earns 0 instead of rho. (The -1 for not
            calling where only the teacher helps is no exploration: there the call is known to have worked.)

    Raises:
        ValueError: an empty group.
    """
    which = scenario(outcomes)
    return [_cell(which, o, independence_bonus, exploration) for o in outcomes]


def _cell(which: Scenario, o: Outcome, independence_bonus: bool, exploration: bool) -> float:
    if o.correct:
        if o.called:
            return 1.0 - o.call_ratio
        return 1.5 if independence_bonus else 1.0
    if which is Scenario.TEACHER_DEPENDENT and not o.called:
        return -1.0
    if which is Scenario.TEACHER_UNSOLVABLE and o.called and exploration:
        return o.call_ratio
    return 0.0
