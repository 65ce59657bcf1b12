"""``random-router:P``: each prompt goes whole to the teacher with probability P, and to the student otherwise.

Its answers are those of ``student`` and ``teacher``. The reports also give its exact expectation at every P, the P that
reaches another method's accuracy, and the P that costs as much (``router_figures.py``).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from relay_core.errors import ConfigurationError
from relay_core.evaluate.methods import student, teacher
from relay_core.evaluate.methods.base import Method, Models, Question
from relay_core.evaluate.outcome import Outcome

if TYPE_CHECKING:
    from relay_core.evaluate.tuning import Tuning


class RandomRouter(Method):
    """A coin for each question; the same seed throws the same."""

    curve = "random router"

    def __init__(self, spec: str, p: float, student: Method, teacher: Method) -> None:
        self.spec, self.label, self._p = spec, f"random router {p:g}", p
        self.sources = (student, teacher)

    def decisive(self, question: Question) -> Any:
        return ["random-router", self._p]

    async def answer(self, question: Question, by_source: Mapping[str, Outcome]) -> Outcome:
        is_sent = random.Random(f"random-router/{question.seed}").random() < self._p
        chosen = self.sources[is_sent].spec
        return replace(by_source[chosen], chose=chosen)


def build(spec: str, arguments: str, models: Models) -> Method:
    """``random-router:0.5`` has one argument, the probability."""
    try:
        p = float(arguments or "0.5")
    except ValueError:
        p = -1.0
    if not 0 <= p <= 1:
        raise ConfigurationError(f"the method {spec!r}: write the share for the teacher, such as random-router:0.5")
    return RandomRouter(spec, p, student.build("student", "", models), teacher.build("teacher", "", models))


async def sweep(arguments: str, tuning: Tuning) -> list[str] | None:
    """One method for each share of prompts; ``None`` if the share is there."""
    return None if arguments else [f"random-router:{p:g}" for p in tuning.routed]
