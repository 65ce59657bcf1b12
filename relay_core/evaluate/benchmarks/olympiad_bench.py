r"""OlympiadBench (He et al., 2024): problems of mathematical olympiads, open-ended, in English, without images.

A row of ``Hothan/OlympiadBench`` (``OE_TO_maths_en_COMP``), or of ``olympiadbench.jsonl``:

    {"id": 1, "subfield": "Algebra", "context": null, "question": "Find all ...", "solution": ["..."],
     "final_answer": ["$2,\\frac{1}{2}$"], "is_multiple_answer": true, "unit": null, "answer_type": "Numerical",
     "error": null}

``error`` is how far a number may lie from the right one. A file of all of OlympiadBench may be used as it is: rows with
images, of other subjects or languages, and theorems to prove are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from relay_core.errors import ConfigurationError
from relay_core.evaluate.benchmarks.base import Source, asked
from relay_core.evaluate.benchmarks.mathematics import Mathematics
from relay_core.evaluate.dataset_rows import Row, cell
from relay_core.evaluate.task import Problem

#: what a row must hold in these columns, where it has them
_WANTED = {"language": "English", "subject": "Math", "modality": "Text-only", "question_type": "Open-ended"}


@dataclass(frozen=True, kw_only=True)
class OlympiadProblem(Problem):
    """A problem; ``tolerance`` is how far a number may lie from the right one."""

    tolerance: float = 0.0


class OlympiadBench(Mathematics):
    """See the module."""

    name = "olympiad-bench"
    title = "OlympiadBench"
    sources = (Source("Hothan/OlympiadBench", "train", "olympiadbench", config="OE_TO_maths_en_COMP"),)

    def problem(self, row: Row, number: int, where: str) -> OlympiadProblem | None:
        """The group is the subfield. The question follows its context, and names the unit of the answer."""
        if any(row.get(column) not in (None, wanted) for column, wanted in _WANTED.items()):
            return None
        answers = cell(row, "final_answer", where)
        parts = [row.get("context"), cell(row, "question", where)]
        if row.get("unit"):
            parts.append(f"Give the answer in the unit {row['unit']}, without the unit.")
        return OlympiadProblem(
            id=str(cell(row, "id", where)),
            messages=asked("\n".join(str(part).strip() for part in parts if part)),
            answer=_listed(answers if isinstance(answers, list) else [answers], bool(row.get("is_multiple_answer"))),
            group=str(cell(row, "subfield", where)),
            tolerance=_tolerance(row.get("error"), where),
        )

    def grade(self, text: str, problem: Problem) -> bool:
        """As in all of mathematics, within the problem's tolerance."""
        tolerance = getattr(problem, "tolerance", 0.0)
        if not tolerance:
            return super().grade(text, problem)
        from relay_core.evaluate.grading.compare import is_right

        return is_right(text, problem.answer, tolerance=tolerance)


def _listed(answers: list[Any], is_multiple: bool) -> str:
    """All answers, separated so that 100,200 is no number."""
    listed = ", ".join(str(answer).strip() for answer in answers)
    apart = ", ".join(part.strip() for part in listed.split(","))
    return apart if is_multiple and "(" not in listed else listed


def _tolerance(error: Any, where: str) -> float:
    """The largest of the tolerances in a cell such as ``1e-1`` or ``1e-1,1e-2``."""
    try:
        return max((abs(float(part)) for part in str(error or "0").split(",")), default=0.0)
    except ValueError as problem:
        raise ConfigurationError(f"{where}: the column 'error' is {error!r}: write a number such as 1e-1") from problem
