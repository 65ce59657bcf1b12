"""How good an answer is: right by a grader, or in agreement with the teacher's own answer to the same prompt.

    accuracy      there are right answers: the share of answers that the grader accepts
    agreement     there are none: with a grader, the share of answers that it accepts in place of the teacher's answer
                  (the same final number, for ``number``); without, the mean ROUGE-L with the teacher's answer

ROUGE-L (Lin, 2004) is the F-measure of the longest common subsequence of words: 1 for the same words in the same order,
0 for no word in common. Case and punctuation do not count.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from relay_core.errors import GradingError
from relay_core.evaluate.graders import agreement_from_spec, grader_from_spec
from relay_core.evaluate.prompts import Prompts
from relay_core.evaluate.task import Problem

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Scorer:
    """Gives an answer a score from 0 to 1.

    ``name``: ``accuracy`` or ``agreement``. ``how``: what the mean score is, in words. ``graded``: whether every score
    is 0 or 1. ``score``: from an answer, its problem, and the teacher's answer; ``None`` if it could not be graded.
    """

    name: str
    how: str
    graded: bool
    score: Callable[[str, Problem, str], float | None]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the name, and what it means."""
        return {"name": self.name, "how": self.how}


def scorer_for(prompts: Prompts, *, grader: str | None, has_answers: bool) -> Scorer:
    """The scorer of some prompts.

    Args:
        prompts: where they come from decides: a task grades its own problems.
        grader: a grader's spec (``graders.py``); ``None`` means ``math`` where there are answers, else ROUGE-L.
        has_answers: whether the problems hold right answers.

    Raises:
        ConfigurationError: no grader has this name.
        MissingExtraError: the grader needs a package that is not installed.
    """
    task = prompts.task
    if task is not None and grader is None:
        how = f"the share of right answers, by the task {task.name}"
        return Scorer("accuracy", how, True, _or_none(lambda text, problem, _: float(task.grade(text, problem))))
    if not has_answers and task is None and grader is None:
        how = "the mean ROUGE-L with the teacher's own answer (1: the same words in the same order)"
        return Scorer("agreement", how, False, lambda text, problem, reference: rouge_l(text, reference))
    name = grader or "math"
    if has_answers or task is not None:
        accepts = grader_from_spec(name)
        how = f"the share of right answers, by the grader {name}"
        return Scorer("accuracy", how, True, _or_none(lambda text, problem, _: float(accepts(text, problem.answer))))
    agrees = agreement_from_spec(name)
    how = f"the share of answers that agree with the teacher's own answer, by the grader {name}"
    return Scorer("agreement", how, True, _or_none(lambda text, problem, reference: float(agrees(text, reference))))


def _or_none(score: Callable[[str, Problem, str], float]) -> Callable[[str, Problem, str], float | None]:
    """The score; ``None`` if grading took too long or failed."""

    def graded(text: str, problem: Problem, reference: str) -> float | None:
        try:
            return score(text, problem, reference)
        except GradingError:
            return None

    return graded


def rouge_l(text: str, reference: str) -> float:
    """ROUGE-L between two texts, from 0 to 1; two texts without words agree fully."""
    a, b = (_WORD.findall(part.casefold()) for part in (text, reference))
    if not a or not b:
        return float(not a and not b)
    return 2 * common_subsequence(a, b) / (len(a) + len(b))


def common_subsequence(a: list[str], b: list[str]) -> int:
    """The length of the longest common subsequence, with one row of the table in the bits of an integer.

    Source: Hyyrö, "Bit-parallel LCS-length computation revisited" (2004).
    """
    positions: dict[str, int] = {}
    for i, word in enumerate(a):
        positions[word] = positions.get(word, 0) | 1 << i
    row = every = (1 << len(a)) - 1
    for word in b:
        matches = row & positions.get(word, 0)
        row = ((row + matches) | (row - matches)) & every
    return len(a) - row.bit_count()
