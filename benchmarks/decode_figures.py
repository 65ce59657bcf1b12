"""What ``decode.py`` measures: tokens and seconds of each kind of work, and the ratios that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Work:
    """Tokens written, and the seconds that they took."""

    tokens: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds

    def add(self, other: Work) -> None:
        """Add the tokens and seconds of ``other``."""
        self.tokens += other.tokens
        self.seconds += other.seconds


@dataclass(slots=True)
class Figures:
    """Everything that was measured with one number of concurrent requests.

    Args:
        at_once: the number of concurrent requests.
        student: the student alone.
        teacher: the teacher alone.
        relay: the relay; its tokens are those of whole answers.
        student_tokens: tokens that the student wrote in the relay, commands included.
        teacher_tokens: tokens that the teacher wrote in the relay.
        calls: the calls of all answers of the relay.
        handovers: teacher tokens of the calls after which the student went on, and the seconds from each command's end
            to the student's next token.
        handover_count: the number of those calls.
        ratios: the ratio to the ideal of each round.
    """

    at_once: int
    student: Work = field(default_factory=Work)
    teacher: Work = field(default_factory=Work)
    relay: Work = field(default_factory=Work)
    student_tokens: int = 0
    teacher_tokens: int = 0
    calls: int = 0
    handovers: Work = field(default_factory=Work)
    handover_count: int = 0
    ratios: list[float] = field(default_factory=list)

    @property
    def ratio_to_ideal(self) -> float:
        """The time in which each model alone would have written its part of the answers, over the relay's time."""
        ideal_s = self.student_tokens / self.student.rate + self.teacher_tokens / self.teacher.rate
        return ideal_s / self.relay.seconds

    @property
    def handover_steps(self) -> float:
        """The mean cost of a hand-over beside the tokens that it brings, in steps of the student."""
        student_step_s, teacher_step_s = self.at_once / self.student.rate, self.at_once / self.teacher.rate
        lost_s = self.handovers.seconds - self.handovers.tokens * teacher_step_s
        return lost_s / self.handover_count / student_step_s - 1

    def add_round(self, figures: Figures) -> None:
        """Add the figures of one round."""
        self.ratios.append(round(figures.ratio_to_ideal, 3))
        self.student.add(figures.student)
        self.teacher.add(figures.teacher)
        self.relay.add(figures.relay)
        self.handovers.add(figures.handovers)
        self.student_tokens += figures.student_tokens
        self.teacher_tokens += figures.teacher_tokens
        self.calls += figures.calls
        self.handover_count += figures.handover_count

    def as_dict(self) -> dict[str, Any]:
        """The figures as they are printed; ``handover_steps`` is ``None`` if the student never went on after a call."""
        return {
            "ratio_to_ideal": round(self.ratio_to_ideal, 3),
            "handover_steps": round(self.handover_steps, 2) if self.handover_count else None,
            "tokens_per_s": round(self.relay.rate, 1),
            "student_tokens_per_s": round(self.student.rate, 1),
            "teacher_tokens_per_s": round(self.teacher.rate, 1),
            "student_tokens": self.student_tokens,
            "teacher_tokens": self.teacher_tokens,
            "calls": self.calls,
            "ratios_of_rounds": self.ratios,
        }
