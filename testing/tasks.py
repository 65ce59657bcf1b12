"""A task of a few problems that a test or a benchmark writes down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relay_core.evaluate.task import Problem


def problem(question: str, answer: Any, group: str = "") -> Problem:
    """A problem whose prompt is one user message; its id is the question."""
    return Problem(id=question, messages=({"role": "user", "content": question},), answer=answer, group=group)


def holds_boxed(text: str, answer: Any) -> bool:
    r"""Whether `\\boxed{answer}` is somewhere in the text."""
    return f"\\boxed{{{answer}}}" in text


@dataclass(frozen=True)
class FixedTask:
    """These problems are every split; ``grader`` is called with the text and the answer."""

    fixed: Sequence[Problem] = ()
    grader: Callable[[str, Any], bool] = holds_boxed
    groups: Sequence[str] = ("easy", "medium", "hard")
    name: str = "fixed"

    def problems(
        self, split: str, n: int | None = None, *, seed: int = 0, mix: Mapping[str, float] | None = None
    ) -> Sequence[Problem]:
        """The first ``n``, whatever the split, the seed and the mix."""
        return self.fixed[:n]

    def grade(self, text: str, problem: Problem) -> bool:
        return self.grader(text, problem.answer)
