"""The reward of each sampled answer (paper, section 3.3). A group is the answers that were sampled for one prompt.

rho is the answer's call ratio: the teacher tokens that were received (not those requested; docs/method.md, fault 8),
divided by all tokens of the answer.

The simple reward is 1 - rho for a correct answer and -rho for a wrong one. The bill is what the answer really costs at
given prices, with the context that each call reads again, which rho leaves out; its reward is 1 - bill or -bill.

The difficulty-aware reward depends on the scenario of the group:

                          correct            wrong
    scenario              no call  call      no call  call    the scenario holds if
    student-solvable      1.5      1 - rho    0        0      some answer is correct without a call
    teacher-dependent     -        1 - rho   -1        0      some answer is correct, but none without a call
    teacher-unsolvable    -        -          0        rho    no answer is correct

All functions are pure: they use no tensors and no text, and keep no state between groups (docs/method.md, fault 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer's outcome: whether it is correct, whether the teacher was called, the call ratio (rho), the bill, and
    whether the student wrote a command that is none (malformed, or never closed, so that a reader sees it).

    An answer in which a call failed has no outcome: it takes no part in its group.
    """

    correct: bool
    called: bool
    call_ratio: float
    bill: float = 0.0
    broken: bool = False


class Scenario(StrEnum):
    """How hard a prompt is for the student and the teacher, judged by its group of answers."""

    STUDENT_SOLVABLE = "student-solvable"
    TEACHER_DEPENDENT = "teacher-dependent"
    TEACHER_UNSOLVABLE = "teacher-unsolvable"


def scenario(outcomes: Sequence[Outcome]) -> Scenario:
    """The scenario of one group.

    Raises:
        ValueError: the group is empty.
    """
    _require_answers(outcomes)
    if any(o.correct and not o.called for o in outcomes):
        return Scenario.STUDENT_SOLVABLE
    if any(o.correct for o in outcomes):
        return Scenario.TEACHER_DEPENDENT
    return Scenario.TEACHER_UNSOLVABLE


def simple(outcomes: Sequence[Outcome]) -> list[float]:
    """``correct - rho`` for each answer of one group.

    Raises:
        ValueError: the group is empty.
    """
    _require_answers(outcomes)
    return [float(o.correct) - o.call_ratio for o in outcomes]


def bill(outcomes: Sequence[Outcome]) -> list[float]:
    """``correct - bill`` for each answer of one group.

    Raises:
        ValueError: the group is empty.
    """
    _require_answers(outcomes)
    return [float(o.correct) - o.bill for o in outcomes]


def difficulty_aware(
    outcomes: Sequence[Outcome], *, independence_bonus: bool = True, exploration: bool = True
) -> list[float]:
    """The difficulty-aware reward for each answer of one group, according to this module's table.

    Args:
        outcomes: the group's answers.
        independence_bonus: if ``False``, a correct answer without a call earns 1 (``1 - rho`` at rho = 0), not 1.5.
        exploration: if ``False``, a wrong answer with a call earns 0, not rho, in a teacher-unsolvable group. The -1
            for a wrong answer without a call in a teacher-dependent group stays: it does not reward exploration,
            because a call is known to work there.

    Raises:
        ValueError: the group is empty.
    """
    group_scenario = scenario(outcomes)
    return [_reward(outcome, group_scenario, independence_bonus, exploration) for outcome in outcomes]


def _reward(outcome: Outcome, group_scenario: Scenario, independence_bonus: bool, exploration: bool) -> float:
    """One cell of the table."""
    if outcome.correct:
        if outcome.called:
            return 1.0 - outcome.call_ratio
        return 1.5 if independence_bonus else 1.0
    if group_scenario is Scenario.TEACHER_DEPENDENT and not outcome.called:
        return -1.0
    if group_scenario is Scenario.TEACHER_UNSOLVABLE and outcome.called and exploration:
        return outcome.call_ratio
    return 0.0


def _require_answers(outcomes: Sequence[Outcome]) -> None:
    if not outcomes:
        raise ValueError("a group without answers has no rewards")
