"""Bounds and rates of methods, tuned on training problems: a method without its numbers becomes several with them.

    uncertain        uncertain:0.21,8  uncertain:0.34,8  ...     one for each call ratio
    citer:FOLDER     citer:FOLDER,0.83  ...
    random-tokens    random-tokens:0.0013,8  ...
    cascade          cascade:min,-0.9  ...                       one for each share of prompts that go to the teacher
    random-router    random-router:0.1  ...

Together they make the method's curve in the reports. Nothing of the test problems is read. Each such method has a
function ``sweep`` in its module (``methods/``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import Any, TypeVar

from relay_core.concurrency import map_concurrently
from relay_core.decoding.triggers import Never
from relay_core.errors import ConfigurationError
from relay_core.evaluate.answers import Answers
from relay_core.evaluate.comparison import Method as Answering
from relay_core.evaluate.doubts import Doubts, Recording
from relay_core.evaluate.methods import Models, split_specs
from relay_core.evaluate.methods import student as student_alone
from relay_core.evaluate.outcome import Outcome, outcome_of
from relay_core.evaluate.run import Stage, no_stage
from relay_core.evaluate.task import Problem, Task, graded, up_to

T = TypeVar("T")
#: the teacher's shares of the tokens (of the prompts, for routers) that a curve is tuned to
RATIOS = (0.005, 0.01, 0.02, 0.05, 0.1)
ROUTED = (0.1, 0.25, 0.5, 0.75)
SWEPT = ("uncertain", "citer", "random-tokens", "cascade", "random-router")


class Tuning:
    """Training problems, and what the student does on them; computed when a method first asks.

    Args:
        models: the models.
        task: the source of the problems; it grades.
        answers: where recorded answers are kept.
        settings: settings of every answer, by name.
        problems: how many training problems.
        seed: decides which.
        ratios: the call ratios to tune for.
        routed: the shares of prompts to tune for.
        concurrency: how many answers run at a time.
        stage: shows progress.
    """

    def __init__(
        self,
        models: Models,
        task: Task,
        answers: Answers,
        *,
        settings: dict[str, Any],
        problems: int = 100,
        seed: int = 0,
        ratios: Sequence[float] = RATIOS,
        routed: Sequence[float] = ROUTED,
        concurrency: int = 64,
        stage: Stage = no_stage,
    ) -> None:
        self._stage = stage
        self.models, self.ratios, self.routed = models, ratios, routed
        self._task, self._answers, self._settings, self._count = task, answers, settings, problems
        self._seed, self._concurrency = seed, concurrency
        self._doubts: dict[str | None, Doubts] = {}
        self._graded: list[tuple[Outcome, bool]] | None = None

    def _problems(self) -> Sequence[Problem]:
        try:
            return up_to(self._task, "train", self._count, seed=self._seed)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"a method without its numbers is tuned on training problems, and {self._task.name} gives none "
                f"({error.message}): write its numbers, such as uncertain:0.4,8, or another --tune-on"
            ) from error

    async def doubts(self, head: str | None = None) -> Doubts:
        """How sure the untrained student is at each place of its answers; with a head, how sure the head is."""
        if head not in self._doubts:
            relay = self.models.relay(self.models.base, trigger=Never(), student_instructions=None, **self._settings)
            method = Answering("student alone", relay)

            async def one(problem: Problem) -> Sequence[float]:
                kept = await self._answers.to(problem, method, recording=Recording(head))
                return kept.sureness

            self._doubts[head] = await self._of_each(one)
        return self._doubts[head]

    async def graded(self) -> list[tuple[Outcome, bool]]:
        """The untrained student's own answers, and whether each is right."""
        if self._graded is None:
            decoded = student_alone.build("student", "", self.models)
            relay = decoded.relay

            async def one(problem: Problem) -> tuple[Outcome, bool]:
                outcome = outcome_of(await relay.agenerate(problem.messages, **self._settings))
                return outcome, not outcome.is_truncated and bool(graded(self._task, outcome.text, problem))

            self._graded = await self._of_each(one)
        return self._graded

    async def _of_each(self, of: Callable[[Problem], Awaitable[T]]) -> list[T]:
        """A function of each training problem."""
        problems = self._problems()
        with self._stage(f"tuning on the training problems of {self._task.name}", len(problems), 0) as advance:

            async def one(problem: Problem) -> T:
                value = await of(problem)
                advance()
                return value

            return await map_concurrently(one, problems, limit=self._concurrency)

    async def methods(self, specs: Sequence[str]) -> list[str]:
        """The specs, with those that lack their numbers replaced by several that have them."""
        made: dict[str, None] = {}
        for spec in (part for text in specs for part in split_specs(text)):
            name, _, arguments = spec.partition(":")
            module = import_module(f"relay_core.evaluate.methods.{name.replace('-', '_')}") if name in SWEPT else None
            swept = None if module is None else await module.sweep(arguments, self)
            made |= dict.fromkeys([spec] if swept is None else swept)
        return list(made)
