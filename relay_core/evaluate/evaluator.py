"""The whole evaluation as one Python function: answers, records, report.

    from relay_core.evaluate.evaluator import evaluate

    done = evaluate(["bundled"], ["student", "relay", "teacher"], limit=100, out="results")
    done.summaries[0].method("relay").accuracy.value

``relay eval`` is the same on the command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from relay_core import __version__, portal
from relay_core.engines.base import Engine
from relay_core.errors import ConfigurationError
from relay_core.evaluate import records as record_files
from relay_core.evaluate.answers import Answers
from relay_core.evaluate.benchmarks import Benchmark, benchmark_from_spec
from relay_core.evaluate.identity import shown
from relay_core.evaluate.methods import DEFAULT, Method, Models, methods_from
from relay_core.evaluate.prices import EXAMPLE_PRICES
from relay_core.evaluate.ray_data import Cluster
from relay_core.evaluate.records import Record
from relay_core.evaluate.report import BenchmarkSummary, summarize, write_report
from relay_core.evaluate.run import Cell, Evaluation, Stage, no_stage
from relay_core.evaluate.store import Journal, read_rows, write_json, write_rows
from relay_core.evaluate.task import Task, task_from_spec
from relay_core.evaluate.tuning import Tuning
from relay_core.settings import RelaySettings

PAPER_CALLS = 5
"""Calls per answer in the paper's evaluation, unless the caller says otherwise."""
#: what a benchmark can set, and what therefore replaces a benchmark's own value where the caller gives one
OF_A_BENCHMARK = ("max_tokens", "temperature", "top_p", "top_k", "stop", "enable_thinking")

BenchmarkSpec = str | Mapping[str, Any] | Task


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An evaluation that is done: all records, the figures of each benchmark, and the folder, if there is one."""

    records: Sequence[Record]
    summaries: Sequence[BenchmarkSummary]
    folder: Path | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        folder = None if self.folder is None else str(self.folder)
        return {"out": folder, "benchmarks": [summary.as_dict() for summary in self.summaries]}


def evaluate(
    benchmarks: Sequence[BenchmarkSpec] = ("bundled",), methods: Sequence[str] = DEFAULT, **options: Any
) -> Evaluated:
    """:func:`aevaluate`, blocking; it also works inside a running event loop."""
    return portal.run(lambda: aevaluate(benchmarks, methods, **options))


async def aevaluate(
    benchmarks: Sequence[BenchmarkSpec] = ("bundled",), methods: Sequence[str] = DEFAULT, **options: Any
) -> Evaluated:
    """Answer the problems of some benchmarks by some methods, and report on it.

    Args:
        benchmarks, methods, options: the arguments of :class:`Evaluator`.

    Raises:
        ConfigurationError: a benchmark, a method, a model or a setting cannot be used.
        EngineError: an engine failed; all earlier answers are kept in ``out``.
        MissingExtraError: a package that is needed is not installed.
    """
    return await Evaluator(benchmarks=benchmarks, methods=methods, **options).run()


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """What :func:`evaluate` takes.

    Args:
        benchmarks: names of benchmarks (:mod:`relay_core.evaluate.benchmarks`), benchmarks, or whatever names a task;
            for a file of your own ``{"path": "mine.jsonl", "grader": "number"}``, with the other arguments of
            :class:`~relay_core.evaluate.dataset.DatasetTask`.
        methods: names of methods with their arguments (:mod:`relay_core.evaluate.methods`).
        student: the student that calls, as an engine or its spec.
        teacher: the teacher.
        base: the student before training, for the methods that need no trained one (``student``, ``uncertain``, ...).
            By default ``bundled:student-base`` for the bundled student, and otherwise ``student`` itself.
        settings: of every answer; the values in a mapping replace those of the benchmarks.
        limit: problems of each benchmark; ``None`` means all, or 300 of a benchmark that has no last one.
        samples: answers to each problem; ``None`` means what each benchmark says (32 for AIME, as in the paper).
        split: the split of the problems. Choose between students, bounds and rounds of training on ``dev``, and leave
            ``test`` for what was chosen. Most benchmarks have the split ``test`` only.
        seed: decides which problems are drawn, and every answer's seed.
        tune_on: the task whose training problems tune the methods that lack their numbers (``tuning.py``); by default
            the first benchmark.
        tune_problems: how many of them.
        out: a folder for answers, records and report; an evaluation that was killed goes on there. Without one,
            nothing is written.
        data_dir: a folder with the files of the benchmarks, in their published columns, instead of the hub.
        concurrency: how many answers run at a time, in this process or in each actor.
        cluster: the machines that answer; ``None`` means this process.
        title, command: the report's heading, and the command that made it.
        stage: shows progress.
    """

    benchmarks: Sequence[BenchmarkSpec]
    methods: Sequence[str]
    student: str | Engine = "bundled"
    teacher: str | Engine = "bundled"
    base: str | Engine | None = None
    settings: RelaySettings | Mapping[str, Any] | None = None
    limit: int | None = None
    samples: int | None = None
    split: str = "test"
    seed: int = 0
    tune_on: str | Task | None = None
    tune_problems: int = 100
    out: str | Path | None = None
    data_dir: str | Path | None = None
    concurrency: int = 64
    cluster: Cluster | None = None
    title: str = "Evaluation"
    command: str = ""
    stage: Stage = no_stage

    async def run(self) -> Evaluated:
        """Answer, grade, and write the report; raises the errors of :func:`aevaluate`."""
        whole, own = _settings(self.settings)
        folder = None if self.out is None else _folder(Path(self.out))
        benchmarks = [benchmark_from_spec(b, data_dir=self.data_dir) for b in self.benchmarks]
        if not benchmarks:
            raise ConfigurationError("there is no benchmark: write some, such as bundled or gsm8k")
        is_bundled = self.base is None and self.student in ("bundled", "bundled:student-relay")
        base = "bundled:student-base" if is_bundled else self.base
        models = Models(student=self.student, teacher=self.teacher, base=base, settings=whole)
        try:
            tuning = self._tuning(models, benchmarks[0], folder, own)
            evaluation = Evaluation(
                benchmarks=benchmarks,
                methods=methods_from(await tuning.methods(self.methods), models),
                limit=self.limit,
                samples=self.samples,
                settings=own,
                seed=self.seed,
                concurrency=self.concurrency,
                cluster=self.cluster,
                split=self.split,
            )
            records, cells = await evaluation.run(folder, stage=self.stage)
        finally:
            await models.aclose()
        speeds = _speeds(cells if folder is None else _all_cells(folder, cells))
        prices = whole.prices or EXAMPLE_PRICES
        summaries = summarize(records, prices, titles={b.name: b.title for b in benchmarks}, speeds=speeds)
        if folder is not None:
            record_files.write(folder, records)
            write_json(folder / "run.json", _facts(models, evaluation, self.command))
            about = _about(models, evaluation, self.command)
            write_report(folder, summaries, prices, title=self.title, about=about)
        return Evaluated(records, summaries, folder)

    def _tuning(self, models: Models, first: Benchmark, folder: Path | None, own: Mapping[str, Any]) -> Tuning:
        return Tuning(
            models,
            first if self.tune_on is None else task_from_spec(self.tune_on),
            Answers(None if folder is None else Journal(folder / "tuning.jsonl")),
            settings={**first.settings, **own},
            problems=self.tune_problems,
            seed=self.seed,
            concurrency=self.concurrency,
            stage=self.stage,
        )


def _settings(settings: RelaySettings | Mapping[str, Any] | None) -> tuple[RelaySettings, dict[str, Any]]:
    """The settings of every answer, and those that replace a benchmark's own."""
    if isinstance(settings, RelaySettings):
        return settings, {}
    given = dict(settings or {})
    whole = RelaySettings().merged({"max_calls": PAPER_CALLS, "on_teacher_error": "raise", **given})
    return whole, {name: given[name] for name in OF_A_BENCHMARK if name in given}


def _folder(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"--out {out} cannot be written: {error.strerror or error}") from error
    return out


def _all_cells(folder: Path, new: Sequence[Cell]) -> list[Cell]:
    """What each method took, in this run and in earlier ones in the same folder."""
    path = folder / "speeds.jsonl"
    rows = [*read_rows(path), *map(asdict, new)]
    if new:
        write_rows(path, rows)
    return [Cell(**row) for row in rows]


def _speeds(cells: Sequence[Cell]) -> dict[tuple[str, str], float]:
    """Tokens per second, by benchmark and method."""
    sums: dict[tuple[str, str], tuple[int, float]] = {}
    for cell in cells:
        tokens, seconds = sums.get((cell.benchmark, cell.method), (0, 0.0))
        sums[cell.benchmark, cell.method] = tokens + cell.tokens, seconds + cell.seconds
    return {place: tokens / seconds for place, (tokens, seconds) in sums.items() if seconds > 0}


def _about(models: Models, evaluation: Evaluation, command: str) -> list[str]:
    base = "" if models.base is models.student else f"; without training, {shown(models.base)}"
    split = "" if evaluation.split == "test" else f" Problems of the split {evaluation.split}."
    said = [
        f"Student: {shown(models.student)}{base}. Teacher: {shown(models.teacher)}. Seed {evaluation.seed}, at most "
        f"{models.settings.max_calls} calls per answer of a trained student.{split}"
    ]
    return [*said, f"Made by: {command}"] if command else said


def _facts(models: Models, evaluation: Evaluation, command: str) -> dict[str, Any]:
    """What was evaluated; nothing here is secret, since a spec holds no key."""

    def method(m: Method) -> dict[str, Any]:
        return {"label": m.label, "models": [shown(engine) for engine in m.models]}

    return {
        "version": __version__,
        "command": command,
        "student": shown(models.student),
        "base": shown(models.base),
        "teacher": shown(models.teacher),
        "seed": evaluation.seed,
        "limit": evaluation.limit,
        "split": evaluation.split,
        "benchmarks": {
            b.name: {"samples": evaluation.samples or b.samples, "settings": {**b.settings, **evaluation.settings}}
            for b in evaluation.benchmarks
        },
        "methods": {m.spec: method(m) for m in evaluation.methods},
    }
