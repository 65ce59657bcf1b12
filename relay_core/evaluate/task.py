"""Tasks: where problems come from, and how an answer is graded.

Training, the data filter, measuring, the demo and the benchmarks all take a :class:`Task`. The task that ships is one
(named ``bundled``); a dataset with named columns and a grader is one too (``dataset.py``, ``graders.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from relay_core.engines.base import Message
from relay_core.errors import ConfigurationError

#: tasks that are named by one word: the module and class of each, imported when a user names it
NAMED = {"bundled": "relay_core.bundled.task:BundledTask"}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One prompt with its right answer.

    ``id``: unique within its task, the same in every run. ``messages``: the prompt. ``answer``: what the task's grader
    compares with. ``group``: what figures are broken down by (difficulty, subject); empty for a task without groups.
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
        """How reports name it."""
        ...

    @property
    def groups(self) -> Sequence[str]:
        """The groups of its problems, in the order in which figures are shown; empty where it has none."""
        ...

    def problems(
        self, split: str, n: int | None = None, *, seed: int = 0, mix: Mapping[str, float] | None = None
    ) -> Sequence[Problem]:
        """``n`` problems of a split, the same for the same arguments.

        Args:
            split: such as ``"train"`` or ``"test"``; no problem is in two.
            n: how many; ``None`` for all of a split that is finite.
            seed: which ones.
            mix: the share of each group; ``None`` leaves it to the task.

        Raises:
            ConfigurationError: there is no such split or group, or it has fewer problems.
        """
        ...

    def grade(self, text: str, problem: Problem) -> bool:
        """Whether ``text``, an answer to ``problem``, is right."""
        ...


def task_from_spec(spec: str | Mapping[str, Any] | Task) -> Task:
    """The task that ``spec`` names.

    Args:
        spec: ``"bundled"``; a mapping of :class:`~relay_core.evaluate.dataset.DatasetTask`'s arguments; the path of a
            JSONL or Parquet file with the columns ``question`` and ``answer``; or a task.

    Raises:
        ConfigurationError: what was found, and what is accepted.
    """
    if isinstance(spec, Mapping):
        from relay_core.evaluate.dataset import DatasetTask

        return DatasetTask.from_mapping(spec)
    if isinstance(spec, str):
        if spec in NAMED:
            module, _, attribute = NAMED[spec].partition(":")
            task: Task = getattr(import_module(module), attribute)()
            return task
        from relay_core.evaluate.dataset import DatasetTask

        return DatasetTask.from_mapping({"path": spec})
    if isinstance(spec, Task):
        return spec
    raise ConfigurationError(
        f"task is a {type(spec).__name__}: write {', '.join(NAMED)}, the path of a JSONL or Parquet file, or a mapping "
        "with path and the names of its columns"
    )
