"""Choose the numbers of a trigger for a call ratio, on somebody's own prompts.

1. The student answers every prompt alone, once, and so does the teacher. For ``Uncertain`` and ``Hidden``, it is
   recorded how sure the student is at each place (``doubts.py``).
2. On one half of the prompts: the bound of ``Uncertain`` or ``Hidden`` that reaches the target, for each n; or the bias
   of ``Commands`` that does (``searches.py``).
3. Of the settings that reach it, the one with the best score is chosen.
4. On the other half, which nothing was chosen by: the chosen setting and its neighbours (half and twice the call
   ratio, and the other n), between student and teacher alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from relay_core.concurrency import map_concurrently
from relay_core.decoding.triggers import Never, Trigger
from relay_core.engines.base import Engine
from relay_core.errors import ConfigurationError
from relay_core.evaluate import splits
from relay_core.evaluate.agreement import Scorer
from relay_core.evaluate.answers import Answers, KeptAnswer
from relay_core.evaluate.calibrate import TOLERANCE, Round, is_near
from relay_core.evaluate.comparison import Method, three_methods
from relay_core.evaluate.doubts import Recording
from relay_core.evaluate.figures import Figures, Scored, figures
from relay_core.evaluate.searches import Search
from relay_core.evaluate.task import Problem
from relay_core.relay import Relay
from relay_core.settings import Prices, RelaySettings

#: called with the name of a stage and its number of answers; gives a function to call after each answer
Stage = Callable[[str, int], AbstractContextManager[Callable[[], object]]]


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was chosen, and what it was chosen from.

    ``chosen``: the trigger. ``rounds``: what was measured on the first half, for each pair of n and gap, the nearest
    to the target first. ``student``, ``teacher``: each alone on the other half. ``settings``: the chosen trigger and
    its neighbours there, the chosen one first. ``too_long``: how many prompts did not fit into a model's context.
    """

    chosen: Trigger
    rounds: Sequence[Sequence[Round]]
    student: Figures
    teacher: Figures
    settings: Sequence[tuple[Trigger, Figures]]
    too_long: int

    @property
    def figures(self) -> Figures:
        """The figures of the chosen trigger on the other half."""
        return self.settings[0][1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuner:
    """The models, the prompts and the target.

    Args:
        student, teacher: both engines.
        settings: budgets and sampling of every answer; its trigger is replaced.
        scorer: gives each answer a score.
        prices: for the costs in the table.
        answers: where answers are kept.
        target: the call ratio to reach.
        search: the kind of trigger, and what is tried of it.
        stage: shows progress.
        concurrency: how many answers run at a time.
        split_seed: decides which prompts are in which half.
    """

    student: Engine
    teacher: Engine
    settings: RelaySettings
    scorer: Scorer
    prices: Prices
    answers: Answers
    target: float = 0.05
    search: Search
    stage: Stage = lambda label, total: nullcontext(lambda: None)
    concurrency: int = 16
    split_seed: int = 0

    async def tune(self, problems: Sequence[Problem]) -> Tuned:
        """Choose a trigger on one half of the problems, and measure it on the other half.

        Args:
            problems: the prompts. Prompts that occur twice, or that exceed a model's context, are left out.

        Returns:
            The chosen trigger, its figures on the other half, and everything that was measured before.

        Raises:
            ConfigurationError: fewer than 4 different prompts fit into both contexts, no setting comes within a fifth
                of the target, or the student's engine does not report probabilities.
            EngineError: an engine failed.
        """
        alone = three_methods(base=self.student, student=self.student, teacher=self.teacher, settings=self.settings)
        recorded = await self._all(self._method(Never()), problems, "student alone", recorded=self.search.records)
        by_teacher = await self._all(alone["teacher"], problems, "teacher alone")
        usable = [p for p in problems if recorded[p.id].too_long is None and by_teacher[p.id].too_long is None]
        first, other = self._halves(usable, [recorded[p.id] for p in usable])
        if min(len(first), len(other)) < 2:
            raise ConfigurationError(
                f"{len(usable)} prompts, of which {len(first) + len(other)} are different, are too few to tune on: "
                "write at least 4, better 100"
            )

        def scored(problem: Problem, answer: KeptAnswer) -> Scored:
            reference = by_teacher[problem.id]
            score = self.scorer.score(answer.text, problem, reference.text)
            return Scored(answer, score, reference.usage.teacher_prompt_tokens)

        async def measured(trigger: Trigger, half: Sequence[Problem]) -> Figures:
            kept = await self._all(self._method(trigger), half, str(trigger))
            return self._figures([scored(p, kept[p.id]) for p in half if kept[p.id].too_long is None])

        alone_first = [recorded[p.id] for p in first]
        seen: dict[Trigger, Figures] = {}

        async def call_ratio(trigger: Trigger) -> float:
            seen[trigger] = await measured(trigger, first)
            return seen[trigger].call_ratio

        rounds = await self.search.rounds(alone_first, self.target, call_ratio)
        nearest = [tried[0] for tried in rounds]
        chosen = self._best(rounds, seen)
        beside = self.search.beside(alone_first, chosen, next(tried for tried in rounds if chosen in tried))
        to_measure = dict.fromkeys([chosen.trigger, *beside, *(r.trigger for r in nearest)])
        return Tuned(
            chosen=chosen.trigger,
            rounds=rounds,
            student=self._figures([scored(p, recorded[p.id]) for p in other]),
            teacher=self._figures([scored(p, by_teacher[p.id]) for p in other]),
            settings=[(trigger, await measured(trigger, other)) for trigger in to_measure],
            too_long=len(problems) - len(usable),
        )

    def _halves(self, problems: Sequence[Problem], alone: Sequence[KeptAnswer]) -> tuple[list[Problem], list[Problem]]:
        """Two halves in which the student's own answers invite the same number of calls."""
        weights = dict(zip((p.id for p in problems), self.search.weights(alone, self.target), strict=True))
        return splits.balanced_halves(problems, lambda p: weights[p.id], self.split_seed)

    def _best(self, rounds: Sequence[Sequence[Round]], seen: Mapping[Trigger, Figures]) -> Round:
        """The round with the best score among those that reach the target; of equal ones, the one with fewer calls."""
        reached = [tried[0] for tried in rounds if is_near(tried[0].measured, self.target)]
        if not reached:
            nearest = rounds[0] if len(rounds) == 1 else [tried[0] for tried in rounds]
            tried = ", ".join(f"{r.trigger} ({r.measured:.1%})" for r in nearest)
            raise ConfigurationError(
                f"no setting comes within {TOLERANCE:.0%} of the call ratio {self.target:.1%}; the nearest are "
                f"{tried}: {self.search.advice(nearest)}"
            )
        return max(reached, key=lambda r: (seen[r.trigger].score, -seen[r.trigger].calls))

    def _method(self, trigger: Trigger) -> Method:
        return Method(str(trigger), Relay(self.student, self.teacher, replace(self.settings, trigger=trigger)))

    def _figures(self, scored: Sequence[Scored]) -> Figures:
        return figures(scored, self.prices, graded=self.scorer.graded)

    async def _all(
        self, method: Method, problems: Sequence[Problem], label: str, *, recorded: bool = False
    ) -> dict[str, KeptAnswer]:
        """The method's answers to all problems, by the problem's id."""
        with self.stage(label, len(problems)) as advance:

            async def answer(problem: Problem) -> KeptAnswer:
                recording = Recording(self.search.head) if recorded else None
                kept = await self.answers.to(problem, method, recording=recording)
                advance()
                return kept

            kept = await map_concurrently(answer, problems, limit=self.concurrency)
        return {problem.id: answer for problem, answer in zip(problems, kept, strict=True)}
