"""Benchmarks: the tasks of the paper's tables, by name, with the paper's prompts and settings.

    gsm8k  math-500  minerva  olympiad-bench  aime-2024  aime-2025      mathematics
    mmlu-pro  big-bench-hard  super-gpqa                                other fields
    bundled  bundled-unseen  bundled-retrieval                          the bundled task, and two forms of it
    word-problems  word-problems-unseen                                 for a real student; what is held out of it

Each has a module here, which shows a row on top. A published benchmark is read from the hub, or from a folder of JSONL
or Parquet files in the published columns (``data_dir``). Its problems are all in the split ``test``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from relay_core.errors import ConfigurationError
from relay_core.evaluate.benchmarks.base import Benchmark
from relay_core.evaluate.graders import ACCEPTED
from relay_core.evaluate.task import BENCHMARKS, Problem, Task, has_members, names_a_class, task_from_spec

__all__ = ["BENCHMARKS", "Benchmark", "benchmark_from_spec"]


def benchmark_from_spec(spec: str | Mapping[str, Any] | Task, *, data_dir: str | Path | None = None) -> Benchmark:
    """The benchmark that ``spec`` names.

    Args:
        spec: the name of a benchmark, or whatever names a task (:func:`relay_core.evaluate.task.task_from_spec`); a
            task is a benchmark of one answer a problem, without settings. A file or a hub id needs a grader, and thus
            the form of a mapping; all rows of a file are test problems, unless the mapping has splits.
        data_dir: the folder with the files of the published benchmarks; ``None`` reads them from the hub.

    Raises:
        ConfigurationError: ``spec`` names neither, or there is no such folder.
        MissingExtraError: the task needs a package that is not installed.
    """
    if data_dir is not None and not Path(data_dir).expanduser().is_dir():
        raise ConfigurationError(f"there is no folder {data_dir}: write the folder with the files of the benchmarks")
    if isinstance(spec, str) and spec in BENCHMARKS:
        module, _, name = BENCHMARKS[spec].partition(":")
        built: Benchmark = getattr(import_module(module), name)(data_dir=data_dir)
        return built
    task = _dataset(spec) if isinstance(spec, Mapping) else task_from_spec(spec)
    if isinstance(spec, str) and not names_a_class(spec):
        raise ConfigurationError(f"{spec}: {_NEEDS_A_GRADER}")
    if has_members(task, "title", "samples", "settings", "answer_in"):
        return cast(Benchmark, task)
    return _TaskAsBenchmark(task)


_NEEDS_A_GRADER = (
    f"say how its answers are graded: --grader number (there are {ACCEPTED}); in Python, write a mapping, such as "
    '{"path": FILE, "grader": "number"}'
)


def _dataset(values: Mapping[str, Any]) -> Task:
    """A task from a mapping; without splits, all rows of a file are test problems."""
    from relay_core.evaluate.dataset import DatasetTask

    if "grader" not in values:
        raise ConfigurationError(f"{values.get('path', 'a dataset')}: {_NEEDS_A_GRADER}")
    is_file = Path(str(values.get("path", ""))).expanduser().is_file()
    return DatasetTask.from_mapping({"splits": {"test": 1.0}, **values} if is_file else values)


class _TaskAsBenchmark:
    """Any other task; an answer is unanswered only if it is empty, since its grader decides where the answer is."""

    samples = 1
    settings: Mapping[str, Any] = {}

    def __init__(self, task: Task) -> None:
        self._task = task
        self.name = self.title = task.name

    @property
    def groups(self) -> Sequence[str]:
        return self._task.groups

    def problems(
        self, split: str, n: int | None = None, *, seed: int = 0, mix: Mapping[str, float] | None = None
    ) -> Sequence[Problem]:
        return self._task.problems(split, n, seed=seed, mix=mix)

    def grade(self, text: str, problem: Problem) -> bool:
        return self._task.grade(text, problem)

    def answer_in(self, text: str) -> str | None:
        return text.strip() or None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)  # such as ``size`` of a finite task
