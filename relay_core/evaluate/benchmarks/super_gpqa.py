"""SuperGPQA (M-A-P, 2025): 26,529 graduate questions in 13 disciplines, with up to 10 options.

A row of ``m-a-p/SuperGPQA``, or of ``super_gpqa.jsonl``:

    {"uuid": "1a2b", "question": "Which gas ...", "options": ["Oxygen", "Argon"], "answer": "Argon",
     "answer_letter": "B", "discipline": "Science", "field": "Chemistry", "subfield": "...", "difficulty": "easy",
     "is_calculation": false}
"""

from __future__ import annotations

from relay_core.evaluate.benchmarks.base import Source
from relay_core.evaluate.benchmarks.multiple_choice import MultipleChoice, letter_of, options_of, with_options
from relay_core.evaluate.dataset_rows import Row, cell
from relay_core.evaluate.task import Problem


class SuperGPQA(MultipleChoice):
    """See the module."""

    name = "super-gpqa"
    title = "SuperGPQA"
    sources = (Source("m-a-p/SuperGPQA", "train", "super_gpqa"),)

    def problem(self, row: Row, number: int, where: str) -> Problem:
        """The group is the discipline."""
        options = options_of(row, where)
        return Problem(
            id=str(row.get("uuid", number)),
            messages=with_options(cell(row, "question", where), options),
            answer=letter_of(row, "answer_letter", options, where),
            group=str(cell(row, "discipline", where)),
        )
