r"""Big-Bench Hard (Suzgun et al., 2022): 6,511 problems in 27 tasks; the answers are letters, yes or no, or free text.

A row of ``lukaemon/bbh`` (one configuration a task), or of ``bbh/date_understanding.jsonl``:

    {"input": "Today is ... What is the date tomorrow?\\nOptions:\\n(A) 01/02/2003\\n(B) ...", "target": "(A)"}
"""

from __future__ import annotations

import re

from relay_core.evaluate.benchmarks.base import Published, Source, asked
from relay_core.evaluate.dataset_rows import Row, cell
from relay_core.evaluate.graders import choice, stated_choice
from relay_core.evaluate.grading.final_answer import LONGEST, final_answer
from relay_core.evaluate.task import Problem

TASKS = (
    "boolean_expressions", "causal_judgement", "date_understanding", "disambiguation_qa", "dyck_languages",
    "formal_fallacies", "geometric_shapes", "hyperbaton", "logical_deduction_five_objects",
    "logical_deduction_seven_objects", "logical_deduction_three_objects", "movie_recommendation",
    "multistep_arithmetic_two", "navigate", "object_counting", "penguins_in_a_table",
    "reasoning_about_colored_objects", "ruin_names", "salient_translation_error_detection", "snarks",
    "sports_understanding", "temporal_sequences", "tracking_shuffled_objects_five_objects",
    "tracking_shuffled_objects_seven_objects", "tracking_shuffled_objects_three_objects", "web_of_lies", "word_sorting",
)  # fmt: skip
_LETTER = re.compile(r"\([A-Z]\)")
_WRAPPED = re.compile(r"\\(?:text|mathrm|textbf)\{([^{}]*)\}")


class BigBenchHard(Published):
    """See the module."""

    name = "big-bench-hard"
    title = "Big-Bench Hard"
    sources = tuple(Source("lukaemon/bbh", "test", f"bbh/{task}", config=task) for task in TASKS)

    def problem(self, row: Row, number: int, where: str) -> Problem:
        """The group is the task."""
        task = str(row["config"])
        question, target = cell(row, "input", where), cell(row, "target", where)
        return Problem(id=f"{task}/{number}", messages=asked(question), answer=str(target), group=task)

    def grade(self, text: str, problem: Problem) -> bool:
        """Whether the text chooses the right letter, or its final answer is the target, whatever its case and spaces.

        A text that states no answer is compared as a whole.
        """
        target = str(problem.answer)
        if _LETTER.fullmatch(target):
            return choice(text, target)
        return _plain(final_answer(text) or text) == _plain(target)

    def answer_in(self, text: str) -> str | None:
        """What the text states as its final answer, or the letter that it chooses."""
        return final_answer(text) or stated_choice(text)


def _plain(answer: str) -> str:
    """The answer without LaTeX, case, spaces, commas, and a full stop at its end."""
    plain = _WRAPPED.sub(r" \1 ", answer[:LONGEST]).replace("\\", "").replace("$", "").replace(",", " ")
    return "".join(plain.split()).removesuffix(".").casefold()
