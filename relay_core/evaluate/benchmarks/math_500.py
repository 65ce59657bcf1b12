r"""MATH-500 (Lightman et al., 2023): 500 competition problems of MATH, in five levels.

A row of ``HuggingFaceH4/MATH-500``, or of ``math500.jsonl``:

    {"problem": "Find $x$ ...", "solution": "... $\\boxed{\\frac{1}{2}}$", "answer": "\\frac{1}{2}",
     "subject": "Algebra", "level": 2, "unique_id": "test/algebra/1.json"}
"""

from __future__ import annotations

from relay_core.evaluate.benchmarks.base import Source, asked
from relay_core.evaluate.benchmarks.mathematics import Mathematics
from relay_core.evaluate.dataset_rows import Row, cell
from relay_core.evaluate.task import Problem


class Math500(Mathematics):
    """See the module."""

    name = "math-500"
    title = "MATH-500"
    sources = (Source("HuggingFaceH4/MATH-500", "test", "math500"),)

    def problem(self, row: Row, number: int, where: str) -> Problem:
        """The group is the level, 1 (easy) to 5 (hard)."""
        return Problem(
            id=str(row.get("unique_id", number)),
            messages=asked(cell(row, "problem", where)),
            answer=cell(row, "answer", where),
            group=f"level {cell(row, 'level', where)}",
        )
