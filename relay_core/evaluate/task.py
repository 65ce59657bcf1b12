"""Tasks: where problems come from, and how an answer is graded.

Training, the data filter, measuring, the demo and the benchmarks all take a :class:`Task`. The task that ships is named
``bundled``; a dataset with named columns and a grader is a task too (``dataset.py``, ``graders.py``). To add a task,
write a class with the members of :class:`Task`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from relay_core.engines.base import Message
from relay_core.errors import ConfigurationError

#: module and class of each task that one word names; imported when a user names it
NAMED = {"bundled": "relay_core.bundled.task:BundledTask"}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One prompt with its right answer.

    Args:
        id: names the problem within its task, the same in every run.
        messages: the prompt.
        answer: the right answer, as the task's grader takes it.
        group: what figures are broken down by, such as a difficulty or a subject; empty for a task without groups.
    """

    id: str
    messages: tuple[Message, ...]
    answer: Any
    group: str = ""


@runtime_checkable
class Task(Protocol):
    """A source of problems with a grader."""

    @property
    def name(self) -> str:
        """The task's name in reports."""
        ...

    @property
    def groups(self) -> Sequence[str]:
        """The groups of the task's problems, in the order in which figures are shown; empty without groups."""
        ...

    def problems(
        self, split: str, n: int | None = None, *, seed: int = 0, mix: Mapping[str, float] | None = None
    ) -> Sequence[Problem]:
        """``n`` problems of a split, the same for the same arguments.

        Args:
            split: such as ``"train"`` or ``"test"``; no problem is in two splits.
            n: how many; ``None`` for all problems of a finite split.
            seed: decides which problems are drawn.
            mix: the share of each group; ``None`` leaves the shares to the task.

        Raises:
            ConfigurationError: there is no such split or group, or it has fewer problems.
        """
        ...

    def grade(self, text: str, problem: Problem) -> bool:
        """Whether ``text``, an answer to ``problem``, is right."""
        ...


def in_task_order(present: Iterable[str], groups: Sequence[str]) -> list[str]:
    """The groups that are present, in the order of the task's ``groups``; groups that it does not name come last.

    The empty group, of problems without one, is left out.
    """
    names = set(present) - {""}
    return [*(group for group in groups if group in names), *sorted(names - set(groups))]


def task_from_spec(spec: str | Mapping[str, Any] | Task) -> Task:
    """The task that ``spec`` names.

    Args:
        spec: ``"bundled"``; the path of a JSONL or Parquet file or a hub id, with the columns ``question`` and
            ``answer``; a mapping of :class:`~relay_core.evaluate.dataset.DatasetTask`'s arguments; or a task.

    Raises:
        ConfigurationError: what was found, and what is accepted.
        MissingExtraError: the task needs a package that is not installed.
    """
    if isinstance(spec, str) and spec in NAMED:
        module, _, attribute = NAMED[spec].partition(":")
        task: Task = getattr(import_module(module), attribute)()
        return task
    if isinstance(spec, Mapping) or (isinstance(spec, str) and ("/" in spec or Path(spec).suffix)):
        from relay_core.evaluate.dataset import DatasetTask

        return DatasetTask.from_mapping({"path": spec} if isinstance(spec, str) else spec)
    if isinstance(spec, Task):
        return spec
    raise ConfigurationError(
        f"task is {spec!r}: write {', '.join(NAMED)}, the path of a JSONL or Parquet file, a hub id such as "
        "openai/gsm8k, or a mapping with path and the names of its columns"
    )
