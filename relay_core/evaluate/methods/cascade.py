"""``cascade:MEASURE,BOUND``: the student answers first, and the teacher answers again where the student was unsure.

How sure the student was is the mean or the least log-probability of its tokens. The bound is tuned on training data
(``tuning.py``). A discarded answer is paid for: its tokens are ``discarded_tokens`` in the usage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from relay_core.errors import ConfigurationError
from relay_core.evaluate.methods import student, teacher
from relay_core.evaluate.methods.base import Method, Models, Question
from relay_core.evaluate.outcome import Outcome
from relay_core.usage import Usage, sum_or_none

if TYPE_CHECKING:
    from relay_core.evaluate.tuning import Tuning

MEASURES = ("mean", "min")


class Cascade(Method):
    """The student, and the teacher where the student's ``measure`` is below ``bound``, in nats."""

    curve = "cascade"

    def __init__(self, spec: str, measure: str, bound: float, student: Method, teacher: Method) -> None:
        self.spec, self.label, self._measure, self._bound = spec, f"cascade {measure} {bound:g}", measure, bound
        self.sources = (student, teacher)

    def decisive(self, question: Question) -> Any:
        return ["cascade", self._measure, self._bound]

    async def answer(self, question: Question, by_source: Mapping[str, Outcome]) -> Outcome:
        first, second = (by_source[source.spec] for source in self.sources)
        if sureness(first, self._measure) >= self._bound:
            return replace(first, chose=self.sources[0].spec)
        return replace(second, usage=both(first.usage, second.usage), seconds=first.seconds + second.seconds,
                       chose=self.sources[1].spec)  # fmt: skip


def sureness(outcome: Outcome, measure: str) -> float:
    """The mean or the least log-probability of an answer's tokens; an answer that is not complete has minus infinity.

    Raises:
        ConfigurationError: the student's engine gives no log-probabilities.
    """
    if outcome.is_truncated or not outcome.text:
        return float("-inf")
    value = outcome.mean_logprob if measure == "mean" else outcome.min_logprob
    if value is None:
        raise ConfigurationError(
            "a cascade needs the log-probabilities of the student's tokens, which its engine does not give: use a "
            "student in this process, or leave the method out"
        )
    return value


def both(first: Usage, second: Usage) -> Usage:
    """What two answers used, of which the first one was discarded."""
    return replace(
        second,
        prompt_tokens=first.prompt_tokens,
        student_prompt_tokens=first.student_prompt_tokens + second.student_prompt_tokens,
        student_cached_tokens=sum_or_none(first.student_cached_tokens, second.student_cached_tokens),
        discarded_tokens=first.completion_tokens + first.discarded_tokens,
    )


def build(spec: str, arguments: str, models: Models) -> Method:
    """``cascade:min,-1.2`` has two arguments, the measure and the bound."""
    measure, _, bound = arguments.partition(",")
    try:
        number = float(bound)
    except ValueError:
        number = None
    if measure not in MEASURES or number is None:
        raise ConfigurationError(f"the method {spec!r}: write cascade:MEASURE,BOUND such as cascade:min,-1.2")
    return Cascade(spec, measure, number, student.build("student", "", models), teacher.build("teacher", "", models))


async def sweep(arguments: str, tuning: Tuning) -> list[str] | None:
    """One method for each share of prompts that goes to the teacher; ``None`` if the arguments are there.

    The measure is the one by which right and wrong answers on training problems differ more (AUC).
    """
    if arguments:
        return None
    graded = await tuning.graded()
    measure = max(MEASURES, key=lambda name: _auc([(sureness(o, name), right) for o, right in graded]))
    values = sorted(sureness(outcome, measure) for outcome, _ in graded)
    bounds = [values[min(len(values) - 1, round(share * len(values)))] for share in tuning.routed]
    return [f"cascade:{measure},{max(bound, -1e3):.6g}" for bound in dict.fromkeys(bounds)]


def _auc(scored: Sequence[tuple[float, bool]]) -> float:
    """The probability that a right answer has a higher value than a wrong one; a tie counts half."""
    pairs = [(a, b) for a, right in scored if right for b, other in scored if not other]
    return sum((a > b) + 0.5 * (a == b) for a, b in pairs) / max(1, len(pairs))
