"""An evaluation: every method answers the problems of every benchmark, and each answer is kept as soon as it is there.

    answers.jsonl      every answer, in the order in which they came; a run that was killed goes on from them
    records.parquet    one row for each answer (``records.py``)
    run.json           what was evaluated: models, settings, benchmarks, methods, and how long it took

An answer is taken from ``answers.jsonl`` if its prompt, its seed, and all that decides it are the same; grades are
always computed again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay_core.concurrency import map_concurrently
from relay_core.evaluate.benchmarks import Benchmark
from relay_core.evaluate.grades import Grader
from relay_core.evaluate.measure import empty_caches
from relay_core.evaluate.methods import Decoded, Method, Question
from relay_core.evaluate.outcome import Outcome, outcome_of
from relay_core.evaluate.progress import Progress
from relay_core.evaluate.ray_actor import Answerer
from relay_core.evaluate.ray_data import Cluster, spread
from relay_core.evaluate.records import Record
from relay_core.evaluate.seeds import answer_seed
from relay_core.evaluate.store import Journal
from relay_core.evaluate.task import up_to

#: called with the name of a stage, the number of its answers, and how many are there; gives a function to call after
#: each new answer
Stage = Callable[[str, int, int], AbstractContextManager[Callable[[], object]]]
UNLIMITED = 300
"""How many problems are drawn from a benchmark that has no last one, if no number is given."""


def no_stage(label: str, total: int, done: int) -> AbstractContextManager[Callable[[], object]]:
    """A :data:`Stage` that shows nothing."""
    return nullcontext(lambda: None)


@contextmanager
def shown(label: str, total: int, done: int, *, process: str = "") -> Iterator[Callable[[], object]]:
    """A :data:`Stage` on standard error: a bar on a terminal, elsewhere a line every few seconds.

    ``process`` names one of several processes that share a terminal: it writes lines there, too, which begin with it.
    """
    if total == done:
        yield lambda: None
        return
    with Progress(f"{process}{label}", total, done=done, bar=not process) as progress:
        yield progress.step


@dataclass(frozen=True, slots=True)
class Cell:
    """One method on one benchmark: how many answers this run made, their tokens, and how long they took together."""

    benchmark: str
    method: str
    answers: int
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What is evaluated, and how.

    Args:
        benchmarks: where the problems come from.
        methods: who answers them.
        limit: problems of each benchmark; ``None`` means all, or 300 of a benchmark that has no last one.
        samples: answers to each problem; ``None`` means what each benchmark says.
        settings: settings that replace the benchmarks' own, by name.
        seed: decides which problems are drawn, and every answer's seed.
        concurrency: how many answers run at a time, in this process or in each actor.
        cluster: the machines that answer; ``None`` means this process. Methods that only choose among the answers of
            others, and ``speculative``, always run in this process.
        split: the split of the problems.
    """

    benchmarks: Sequence[Benchmark]
    methods: Sequence[Method]
    limit: int | None = None
    samples: int | None = None
    settings: Mapping[str, Any]
    seed: int = 0
    concurrency: int = 64
    cluster: Cluster | None = None
    split: str = "test"

    async def run(self, folder: Path | None, *, stage: Stage = no_stage) -> tuple[list[Record], list[Cell]]:
        """Answer and grade.

        Args:
            folder: where the answers are kept; ``None`` keeps them in memory only.
            stage: shows progress.

        Returns:
            The records, in the order of benchmarks, methods, problems and samples; and what each method took in this
            run, where it answered anything.

        Raises:
            ConfigurationError: a benchmark cannot be read, or a method cannot be used with these models.
            EngineError: an engine failed; all earlier answers are kept.
        """
        kept = _Kept(None if folder is None else Journal(folder / "answers.jsonl"))
        records: list[Record] = []
        cells: list[Cell] = []
        for benchmark in self.benchmarks:
            questions = self.questions(benchmark)
            grader = Grader(benchmark)
            by_method: dict[str, list[Outcome]] = {}
            for method in self._in_order():
                outcomes, cell = await self._answer(benchmark, method, _of(method, questions), by_method, kept, stage)
                by_method[method.spec] = outcomes
                cells += [] if cell is None else [cell]
            for method in self.methods:
                asked = _of(method, questions)
                records += await asyncio.to_thread(_records, grader, method, asked, by_method[method.spec])
        return records, cells

    def questions(self, benchmark: Benchmark) -> list[Question]:
        """The questions of a benchmark: each problem as often as it is sampled, each with its own seed."""
        limit = self.limit
        if limit is None and not hasattr(benchmark, "size"):
            limit = UNLIMITED
        if limit is None:
            problems = benchmark.problems(self.split, seed=self.seed)
        else:
            problems = up_to(benchmark, self.split, limit, seed=self.seed)
        samples = self.samples or benchmark.samples
        settings = {**benchmark.settings, **self.settings}
        stage = f"eval/{benchmark.name}"
        return [
            Question(problem=p, sample=k, seed=answer_seed(self.seed, stage, 0, p.id, k), settings=settings)
            for p in problems
            for k in range(samples)
        ]

    def _in_order(self) -> Iterator[Method]:
        """The methods, each after its sources, each once."""
        seen: set[str] = set()

        def each(methods: Sequence[Method]) -> Iterator[Method]:
            for method in methods:
                if method.spec not in seen:
                    yield from each(method.sources)
                    seen.add(method.spec)
                    yield method

        return each(self.methods)

    async def _answer(
        self,
        benchmark: Benchmark,
        method: Method,
        questions: Sequence[Question],
        by_method: Mapping[str, Sequence[Outcome]],
        kept: _Kept,
        stage: Stage,
    ) -> tuple[list[Outcome], Cell | None]:
        """The method's outcomes, in the order of the questions; those that are kept are not made again."""
        keys = [key(method, question) for question in questions]
        missing = [i for i, k in enumerate(keys) if k not in kept.outcomes]
        facts = {"benchmark": benchmark.name, "method": method.spec}
        is_spread = isinstance(method, Decoded) and self.cluster is not None
        if missing and not is_spread:
            for engine in method.models:
                await engine.start()  # loading is in no method's time
            empty_caches(*method.models)
        began = time.monotonic()
        with stage(f"{benchmark.title}: {method.label}", len(questions), len(questions) - len(missing)) as advance:

            def keep(i: int, outcome: Outcome) -> None:
                kept.add(keys[i], outcome, {**facts, "problem": questions[i].problem.id, "seed": questions[i].seed})
                advance()

            if missing and isinstance(method, Decoded) and is_spread:
                await asyncio.to_thread(self._over_ray, method, questions, missing, keep)
            else:

                async def one(i: int) -> None:
                    sources = {source.spec: by_method[source.spec][i] for source in method.sources}
                    keep(i, await method.answer(questions[i], sources))

                await map_concurrently(one, missing, limit=self.concurrency)
        outcomes = [kept.outcomes[k] for k in keys]
        if not missing or not method.models:
            return outcomes, None
        tokens = sum(outcomes[i].usage.completion_tokens for i in missing)
        return outcomes, Cell(benchmark.name, method.spec, len(missing), tokens, time.monotonic() - began)

    def _over_ray(
        self,
        method: Decoded,
        questions: Sequence[Question],
        missing: Sequence[int],
        keep: Callable[[int, Outcome], None],
    ) -> None:
        from relay_core.engines.in_process import InProcessEngine

        assert self.cluster is not None
        spread(
            Answerer(method.relay),
            [(questions[i].problem.messages, method.options(questions[i])) for i in missing],
            lambda place, result: keep(missing[place], outcome_of(result, method.written_by)),
            cluster=self.cluster,
            limit=self.concurrency,
            uses_gpu=any(isinstance(engine, InProcessEngine) for engine in method.models),
        )


def _of(method: Method, questions: Sequence[Question]) -> Sequence[Question]:
    """The questions that a method answers."""
    if method.limit is None:
        return questions
    problems = set(list(dict.fromkeys(question.problem.id for question in questions))[: method.limit])
    return [question for question in questions if question.problem.id in problems]


def _records(
    grader: Grader, method: Method, questions: Sequence[Question], outcomes: Sequence[Outcome]
) -> list[Record]:
    names = {"method": method.spec, "label": method.label, "curve": method.curve}
    return [
        grader.record(question.problem, outcome, seed=question.seed, sample=question.sample, **names)
        for question, outcome in zip(questions, outcomes, strict=True)
    ]


class _Kept:
    """The outcomes that are there, by key."""

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        rows = [] if journal is None else journal.rows
        self.outcomes = {row["key"]: Outcome.of_row(row["outcome"]) for row in rows}

    def add(self, key: str, outcome: Outcome, facts: Mapping[str, Any]) -> None:
        if self._journal is not None:
            self._journal.append({"key": key, **facts, "outcome": outcome.as_row()})
        self.outcomes[key] = outcome


def key(method: Method, question: Question) -> str:
    """A digest of all that decides an answer."""
    problem = question.problem
    decisive = [
        problem.id,
        [dict(message) for message in problem.messages],
        [dict(tool) for tool in getattr(problem, "tools", ())],
        question.seed,
        method.decisive(question),
        [key(source, question) for source in method.sources],
    ]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode()).hexdigest()[:32]
