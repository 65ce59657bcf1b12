"""MMLU-Pro (Wang et al., 2024): 12,032 questions in 14 subjects, with up to 10 options.

A row of ``TIGER-Lab/MMLU-Pro``, or of ``mmlu_pro.jsonl``:

    {"question_id": 70, "question": "Which gas ...", "options": ["Oxygen", "Argon"], "answer": "B", "answer_index": 1,
     "cot_content": "", "category": "chemistry", "src": "..."}
"""

from __future__ import annotations

from relay_core.evaluate.benchmarks.base import Source
from relay_core.evaluate.benchmarks.multiple_choice import MultipleChoice, letter_of, options_of, with_options
from relay_core.evaluate.dataset_rows import Row, cell
from relay_core.evaluate.task import Problem


class MMLUPro(MultipleChoice):
    """See the module."""

    name = "mmlu-pro"
    title = "MMLU-Pro"
    sources = (Source("TIGER-Lab/MMLU-Pro", "test", "mmlu_pro"),)

    def problem(self, row: Row, number: int, where: str) -> Problem:
        """The group is the subject."""
        options = options_of(row, where)
        return Problem(
            id=str(row.get("question_id", number)),
            messages=with_options(cell(row, "question", where), options),
            answer=letter_of(row, "answer", options, where),
            group=str(cell(row, "category", where)),
        )
