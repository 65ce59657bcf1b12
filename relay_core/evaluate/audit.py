"""What a relay would have done on somebody's own prompts: student alone, relay and teacher alone, side by side.

Each prompt is answered by all three before its answers count, so that a run that ends early still compares the same
prompts. ``answers.py`` keeps the answers; ``audit_report.py`` says what they show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from relay_core.concurrency import map_concurrently
from relay_core.evaluate.answers import Answers, KeptAnswer
from relay_core.evaluate.comparison import Method
from relay_core.evaluate.task import Problem
from relay_core.settings import Prices


@dataclass(frozen=True, slots=True)
class Case:
    """One prompt, and the answers to it by the name of the method."""

    problem: Problem
    answers: Mapping[str, KeptAnswer]

    @property
    def too_long(self) -> bool:
        """Whether the prompt did not fit into a model's context."""
        return any(answer.too_long is not None for answer in self.answers.values())


#: a prompt may cost as much as the dearest one before it, times this
MARGIN = 1.5


@dataclass(slots=True)
class Purse:
    """What may be spent on answers, in the currency of ``prices``.

    A prompt is begun only if it and all prompts that are being answered could each cost ``MARGIN`` times as much as the
    dearest one so far. So the limit is passed only by a prompt that costs still more.

    Args:
        limit: the most to spend; ``None`` for no limit.
        prices: prices per million tokens, without caching.
        spent: what earlier answers cost.
    """

    limit: float | None
    prices: Prices
    spent: float = 0.0
    in_flight: int = field(default=0, init=False)
    dearest: float = field(default=0.0, init=False)
    is_empty: bool = field(default=False, init=False)

    def begin(self) -> bool:
        """Whether one more prompt may be answered; if so, it counts as being answered."""
        if self.limit is not None:
            reserved = (self.in_flight + 1) * self.dearest * MARGIN
            self.is_empty = self.is_empty or self.spent >= self.limit or self.spent + reserved > self.limit
        if not self.is_empty:
            self.in_flight += 1
        return not self.is_empty

    def end(self, answers: Iterable[KeptAnswer]) -> None:
        """Count the new answers to a prompt that was begun."""
        cost = sum(answer.usage.cost(self.prices) for answer in answers)
        self.in_flight -= 1
        self.spent += cost
        self.dearest = max(self.dearest, cost)


async def audit(
    problems: Sequence[Problem],
    methods: Mapping[str, Method],
    answers: Answers,
    purse: Purse,
    *,
    concurrency: int = 8,
    on_case: Callable[[], object] = lambda: None,
) -> list[Case]:
    """Answer the prompts by every method; returns those that all methods have answered, in the order of ``problems``.

    Args:
        problems: the prompts.
        methods: each method by its name.
        answers: where answers are kept. What is there already costs nothing.
        purse: what may be spent.
        concurrency: how many prompts are answered at a time; the first one is answered alone, to learn what one costs.
        on_case: called after each prompt.

    Raises:
        EngineError: an engine failed. The answers so far are kept.
    """

    async def answered(problem: Problem) -> Case | None:
        missing = [name for name, method in methods.items() if not answers.has(problem, method)]
        if missing and not purse.begin():
            return None
        by_method = {name: await answers.to(problem, method) for name, method in methods.items()}
        if missing:
            purse.end(by_method[name] for name in missing)
        on_case()
        return Case(problem, by_method)

    first = [await answered(problem) for problem in problems[:1]]
    others = await map_concurrently(answered, problems[1:], limit=concurrency)
    return [case for case in [*first, *others] if case is not None]
