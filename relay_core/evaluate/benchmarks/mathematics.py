"""What the benchmarks of mathematics share: how an answer is graded."""

from __future__ import annotations

from relay_core.evaluate.benchmarks.base import Published
from relay_core.evaluate.graders import grader_from_spec
from relay_core.evaluate.grading.final_answer import final_answer
from relay_core.evaluate.task import Problem


class Mathematics(Published):
    """A benchmark of mathematics, graded by the grader ``math``."""

    def grade(self, text: str, problem: Problem) -> bool:
        """Whether the text's final answer, or else its last expression, equals the right answer.

        Raises:
            GradingError: the comparison took too long or failed.
            MissingExtraError: math-verify is not installed.
        """
        return grader_from_spec("math")(text, problem.answer)

    def answer_in(self, text: str) -> str | None:
        r"""What the text states in its last `\\boxed{...}`, behind `####`, or behind "the answer is"."""
        return final_answer(text)
