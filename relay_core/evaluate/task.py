"""Tasks, which provide problems and grade answers.

Training, the data filter, measuring, the demo and the benchmarks all take a :class:`Task`. One task, named ``bundled``,
ships with the code. A dataset with named columns and a grader is also a task (``dataset.py``, ``graders.py``). For any
other task, write a class with the members of :class:`Task`, and name it as ``MODULE:CLASS``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from inspect import getattr_static
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from relay_core.engines.base import Message
from relay_core.errors import ConfigurationError, GradingError

_log = logging.getLogger(__name__)

#: the name of each task that ships -> MODULE:CLASS; the module is imported when a user names the task
SHIPPED_TASKS = {"bundled": "relay_core.bundled.task:BundledTask"}
_BENCHMARKS = "relay_core.evaluate.benchmarks"
#: the name of each benchmark -> MODULE:CLASS
BENCHMARKS = {
    "gsm8k": f"{_BENCHMARKS}.gsm8k:GSM8K",
    "math-500": f"{_BENCHMARKS}.math_500:Math500",
    "minerva": f"{_BENCHMARKS}.minerva:Minerva",
    "olympiad-bench": f"{_BENCHMARKS}.olympiad_bench:OlympiadBench",
    "aime-2024": f"{_BENCHMARKS}.aime:AIME2024",
    "aime-2025": f"{_BENCHMARKS}.aime:AIME2025",
    "mmlu-pro": f"{_BENCHMARKS}.mmlu_pro:MMLUPro",
    "big-bench-hard": f"{_BENCHMARKS}.big_bench_hard:BigBenchHard",
    "super-gpqa": f"{_BENCHMARKS}.super_gpqa:SuperGPQA",
    "bundled": f"{_BENCHMARKS}.bundled:Bundled",
    "bundled-unseen": f"{_BENCHMARKS}.bundled:BundledUnseen",
    "bundled-retrieval": f"{_BENCHMARKS}.bundled:BundledRetrieval",
    "word-problems": f"{_BENCHMARKS}.word_problems:WordProblems",
    "word-problems-unseen": f"{_BENCHMARKS}.word_problems:UnseenWordProblems",
}
_NAMED = {**SHIPPED_TASKS, **BENCHMARKS, **SHIPPED_TASKS}
ACCEPTED = (
    f"{', '.join(_NAMED)}, the path of a JSONL or Parquet file, a hub id such as openai/gsm8k, MODULE:CLASS, "
    "or a mapping with path and the names of its columns"
)


_CLASS = re.compile(r"[^\W\d]\w*(?:\.\w+)*:[^\W\d]\w*")  # MODULE:CLASS


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One prompt with its right answer.

    Args:
        id: the problem's name within its task; it is the same in every run.
        messages: the prompt.
        answer: the right answer, in the form that the task's grader expects.
        group: the group of problems for which reports show separate figures, such as a difficulty or a subject; empty
            for a task without groups.
        cluster: what several problems share that makes a model answer them alike, such as their calculation or the
            text that they ask about; empty for a problem that shares nothing. Intervals in reports count a cluster as
            one observation (Miller, 2024, "Adding Error Bars to Evals", section 2.2).
    """

    id: str
    messages: tuple[Message, ...]
    answer: Any
    group: str = ""
    cluster: str = ""


@runtime_checkable
class Task(Protocol):
    """A source of problems with a grader."""

    @property
    def name(self) -> str:
        """The task's name in reports."""
        ...

    @property
    def groups(self) -> Sequence[str]:
        """The groups of the task's problems, in the order in which reports show them; empty without groups."""
        ...

    def problems(
        self, split: str, n: int | None = None, *, seed: int = 0, mix: Mapping[str, float] | None = None
    ) -> Sequence[Problem]:
        """Draw ``n`` problems from a split. The same arguments always draw the same problems.

        Args:
            split: the split's name, such as ``"train"`` or ``"test"``; no problem is in two splits.
            n: the number of problems; ``None`` means all problems, which needs a finite split and no ``mix``.
            seed: determines which problems are drawn.
            mix: the share of each group; ``None`` leaves the shares to the task.

        Raises:
            ConfigurationError: the split or a group is unknown or has too few problems, or ``n`` is missing.
        """
        ...

    def grade(self, text: str, problem: Problem) -> bool:
        """Whether ``text``, an answer to ``problem``, is right.

        Raises:
            GradingError: this cannot be said, because grading took too long or failed.
        """
        ...


def graded(task: Task, text: str, problem: Problem) -> bool | None:
    """Whether an answer is right; ``None`` if it could not be graded, which is not wrong: count it apart."""
    try:
        return task.grade(text, problem)
    except GradingError as error:
        _log.warning("an answer to problem %s was not graded: %s", problem.id, error)
        return None


def up_to(
    task: Task, split: str, n: int, *, seed: int = 0, mix: Mapping[str, float] | None = None
) -> Sequence[Problem]:
    """Draw ``n`` problems, or all problems of a finite split that has fewer and no ``mix``.

    A task with a method ``size(split)``, which returns the number of problems in a split, is finite.

    Raises:
        ConfigurationError: as :meth:`Task.problems`; or the split has no problem.
    """
    size = getattr(task, "size", None)
    if size is not None and mix is None:
        n = min(n, size(split))
        if n == 0:
            raise ConfigurationError(f"the split {split!r} of {task.name} has no problem: write task.splits")
    return task.problems(split, n, seed=seed, mix=mix)


def in_task_order(present: Iterable[str], groups: Sequence[str]) -> list[str]:
    """Sort the groups in ``present`` in the order of ``groups``; groups that are not in ``groups`` come last.

    The empty group, which stands for problems without a group, is left out.
    """
    names = set(present) - {""}
    return [*(group for group in groups if group in names), *sorted(names - set(groups))]


def task_from_spec(spec: str | Mapping[str, Any] | Task) -> Task:
    """The task that ``spec`` names.

    Args:
        spec: one of

            - ``"bundled"``, or the name of a benchmark, which is read from the hub (``benchmarks/``)
            - the path of a JSONL or Parquet file, or a hub id, with the columns ``question`` and ``answer``
            - ``"MODULE:CLASS"``: a class of your own, which is called without arguments
            - a mapping of the arguments of :class:`~relay_core.evaluate.dataset.DatasetTask`; a folder needs one, with
              the file of each split
            - a task

    Raises:
        ConfigurationError: the spec does not name a task; the message lists what is accepted.
        MissingExtraError: the task needs a package that is not installed.
    """
    if isinstance(spec, str) and names_a_class(spec):
        return _imported(_NAMED.get(spec, spec))
    if isinstance(spec, Mapping) or (isinstance(spec, str) and _is_path_or_hub_id(spec)):
        from relay_core.evaluate.dataset import DatasetTask

        return DatasetTask.from_mapping({"path": spec} if isinstance(spec, str) else spec)
    if has_members(spec, *_MEMBERS):
        return cast(Task, spec)
    near = get_close_matches(spec, _NAMED, n=1) if isinstance(spec, str) else []
    hint = f"did you mean {near[0]}? Otherwise write " if near else "write "
    raise ConfigurationError(f"task is {spec!r}: {hint}{ACCEPTED}")


def names_a_class(spec: str) -> bool:
    """Whether ``spec`` names a task that ships, or is ``MODULE:CLASS``."""
    return spec in _NAMED or _CLASS.fullmatch(spec) is not None


def _is_path_or_hub_id(spec: str) -> bool:
    return "/" in spec or bool(Path(spec).suffix) or (bool(spec) and Path(spec).exists())


def _imported(spec: str) -> Task:
    """The task that the class ``MODULE:CLASS`` builds."""
    module, _, name = spec.partition(":")
    try:
        build = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"task {spec!r} cannot be imported ({error}); write {ACCEPTED}") from error
    task = build() if callable(build) else build
    if not has_members(task, *_MEMBERS):
        raise ConfigurationError(f"task {spec!r} lacks members of relay_core.evaluate.task.Task")
    return cast(Task, task)


_MEMBERS = ("name", "groups", "problems", "grade")


def has_members(value: Any, *names: str) -> bool:
    """Whether an object has these members.

    Properties are not called, which ``isinstance`` does for a protocol until Python 3.12: the groups of a task may have
    to be fetched.
    """
    return all(getattr_static(value, name, None) is not None or hasattr(value, name) for name in names)
