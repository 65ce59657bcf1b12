r"""Minerva, also OCWCourses (Lewkowycz et al., 2022): 272 problems of university courses in the sciences.

A row of ``math-ai/minervamath``, and a row of ``minerva_math.jsonl``, whose right answer is in the solution's last box:

    {"question": "Find the wavelength ...", "answer": "4.5e-33"}
    {"problem": "Find the wavelength ...", "solution": "... $\\boxed{4.5e-33}$ m", "type": "Physics ...", "idx": 1}
"""

from __future__ import annotations

from relay_core.errors import ConfigurationError
from relay_core.evaluate.benchmarks.base import Source, asked
from relay_core.evaluate.benchmarks.mathematics import Mathematics
from relay_core.evaluate.dataset_rows import Row, cell
from relay_core.evaluate.grading.final_answer import final_answer
from relay_core.evaluate.task import Problem


class Minerva(Mathematics):
    """See the module."""

    name = "minerva"
    title = "Minerva"
    sources = (Source("math-ai/minervamath", "test", "minerva_math"),)

    def problem(self, row: Row, number: int, where: str) -> Problem:
        """The group is the course, where the row has a ``type``."""
        question = cell(row, "question" if "question" in row else "problem", where)
        answer = cell(row, "answer", where) if "answer" in row else final_answer(str(cell(row, "solution", where)))
        if answer is None:
            raise ConfigurationError(f"{where}: the column 'solution' has no \\boxed{{...}} with the right answer")
        group = str(row.get("type") or "").partition("(")[0].strip()
        return Problem(id=str(row.get("idx", number)), messages=asked(question), answer=str(answer), group=group)
