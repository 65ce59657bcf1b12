"""The status of each answer of an evaluation: right, wrong, truncated, unanswered, or not graded."""

from __future__ import annotations

from relay_core.errors import GradingError
from relay_core.evaluate.benchmarks import Benchmark
from relay_core.evaluate.outcome import Outcome
from relay_core.evaluate.records import Record, Status
from relay_core.evaluate.task import Problem


class Grader:
    """Grades answers to the problems of a benchmark; the same text is graded once.

    Args:
        benchmark: gives the problems, grades texts, and finds the final answer in a text.
    """

    def __init__(self, benchmark: Benchmark) -> None:
        self.benchmark = benchmark
        self._known: dict[tuple[str, str], Status] = {}

    def status(self, problem: Problem, outcome: Outcome) -> Status:
        """What became of an answer."""
        if outcome.is_truncated:
            return Status.TRUNCATED
        place = (problem.id, outcome.text)
        if place not in self._known:
            self._known[place] = self._graded(problem, outcome.text)
        return self._known[place]

    def record(
        self, problem: Problem, outcome: Outcome, *, method: str, label: str, curve: str, seed: int, sample: int = 0
    ) -> Record:
        """The record of an answer; the names are those of :class:`~relay_core.evaluate.records.Record`."""
        return Record(
            benchmark=self.benchmark.name,
            problem=problem.id,
            sample=sample,
            group=problem.group,
            cluster=problem.cluster,
            method=method,
            label=label,
            curve=curve,
            seed=seed,
            gold=str(problem.answer),
            stated=self.benchmark.answer_in(outcome.text),
            status=self.status(problem, outcome),
            outcome=outcome,
        )

    def _graded(self, problem: Problem, text: str) -> Status:
        try:
            if self.benchmark.grade(text, problem):
                return Status.RIGHT
            return Status.UNANSWERED if self.benchmark.answer_in(text) is None else Status.WRONG
        except GradingError:
            return Status.UNGRADED
