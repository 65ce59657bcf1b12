"""GSM8K (Cobbe et al., 2021): 1,319 word problems of grade school.

A row of ``openai/gsm8k``, or of ``gsm8k.jsonl``:

    {"question": "A box holds 4 pens ...", "answer": "There are 4*3=<<4*3=12>>12 pens.\\n#### 12"}
"""

from __future__ import annotations

from relay_core.errors import ConfigurationError
from relay_core.evaluate.benchmarks.base import Source, asked
from relay_core.evaluate.benchmarks.mathematics import Mathematics
from relay_core.evaluate.dataset_rows import Row, cell
from relay_core.evaluate.task import Problem


class GSM8K(Mathematics):
    """See the module."""

    name = "gsm8k"
    title = "GSM8K"
    sources = (Source("openai/gsm8k", "test", "gsm8k", config="main"),)

    def problem(self, row: Row, number: int, where: str) -> Problem:
        """The right answer stands behind ``####``."""
        _, hashes, answer = str(cell(row, "answer", where)).rpartition("####")
        if not hashes:
            raise ConfigurationError(f"{where}: the column 'answer' has no ####, behind which the right answer stands")
        question = cell(row, "question", where)
        return Problem(id=str(row.get("idx", number)), messages=asked(question), answer=answer.strip())
