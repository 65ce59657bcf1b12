"""AIME 2024 and 2025: 30 problems each of the American Invitational Mathematics Examination; answers from 000 to 999.

A row of ``HuggingFaceH4/aime_2024`` and of ``math-ai/aime25``, or of ``aime24.jsonl`` and ``aime25.jsonl``:

    {"id": 60, "problem": "Every morning ...", "solution": "...", "answer": "025", "url": "...", "year": "2024"}
    {"id": "0", "problem": "Find the sum ...", "answer": "70"}

The paper samples 32 answers to each problem.
"""

from __future__ import annotations

from relay_core.evaluate.benchmarks.base import Source, asked
from relay_core.evaluate.benchmarks.mathematics import Mathematics
from relay_core.evaluate.dataset_rows import Row, cell
from relay_core.evaluate.task import Problem


class AIME2024(Mathematics):
    """See the module."""

    name = "aime-2024"
    title = "AIME-2024"
    samples = 32
    sources = (Source("HuggingFaceH4/aime_2024", "train", "aime24"),)

    def problem(self, row: Row, number: int, where: str) -> Problem:
        """There are no groups."""
        question, answer = cell(row, "problem", where), cell(row, "answer", where)
        return Problem(id=str(row.get("id", number)), messages=asked(question), answer=str(answer))


class AIME2025(AIME2024):
    """See the module."""

    name = "aime-2025"
    title = "AIME-2025"
    sources = (Source("math-ai/aime25", "test", "aime25"),)
