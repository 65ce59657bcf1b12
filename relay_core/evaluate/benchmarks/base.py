r"""What benchmarks are, and what the published ones share: reading rows, the prompt, the paper's settings.

The paper's published code asks each question with ``INSTRUCTION`` behind it, and samples both models at temperature
0.7, up to 8,192 tokens. Its loaders are not published; here a problem has the columns of the dataset's own repository.
The paper turns thinking off. It gives no prompt for the benchmarks of other fields: they get the same instruction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from relay_core.engines.base import Message
from relay_core.errors import ConfigurationError
from relay_core.evaluate import splits as splitting
from relay_core.evaluate.dataset_rows import SUFFIXES, Row, file_rows, hub_rows
from relay_core.evaluate.task import Problem, Task

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."
SETTINGS: Mapping[str, Any] = {"max_tokens": 8192, "temperature": 0.7, "enable_thinking": False}


@runtime_checkable
class Benchmark(Task, Protocol):
    """A task of the paper's tables."""

    @property
    def title(self) -> str:
        """The name in reports, such as ``MATH-500``."""
        ...

    @property
    def samples(self) -> int:
        """How many answers to a problem the paper samples."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """The paper's settings, as fields of :class:`~relay_core.settings.RelaySettings`; the others are free."""
        ...

    def answer_in(self, text: str) -> str | None:
        """The final answer that a text states; ``None`` if it states none. It may still be graded as right."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """Where the rows are.

    ``path``, ``split``, ``config``: of the hub. ``file``: the file's name in ``data_dir``, without its suffix.
    """

    path: str
    split: str
    file: str
    config: str | None = None

    def rows(self, data_dir: Path | None) -> tuple[list[Row], str]:
        """The rows, and what names them in errors; raises as :meth:`Published.problems`."""
        if data_dir is None:
            name = f"{self.path} ({self.config or self.split})"
            return self._named(hub_rows(self.path, self.config, self.split)), name
        files = [data_dir / f"{self.file}{suffix}" for suffix in SUFFIXES]
        found = [file for file in files if file.is_file()]
        if not found:
            raise ConfigurationError(
                f"{data_dir} has no file {self.file}{SUFFIXES[0]} or {self.file}{SUFFIXES[1]}: put the rows of "
                f"{self.path} there"
            )
        return self._named(file_rows(found[0])), str(found[0])

    def _named(self, rows: list[Row]) -> list[Row]:
        return rows if self.config is None else [{**row, "config": self.config} for row in rows]


class Published:
    """A benchmark from a hub dataset. A subclass names its sources, and says how a row becomes a problem.

    Args:
        data_dir: the folder with its files; ``None`` reads the hub.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    sources: ClassVar[Sequence[Source]]
    samples: ClassVar[int] = 1
    settings: ClassVar[Mapping[str, Any]] = SETTINGS

    def __init__(self, *, data_dir: str | Path | None = None) -> None:
        self._data_dir = None if data_dir is None else Path(data_dir).expanduser()

    def problem(self, row: Row, number: int, where: str) -> Problem | None:
        """The problem in a row; ``None`` if the row belongs to another benchmark.

        Args:
            row: a row; where the dataset has several configurations, with its own as the column ``config``.
            number: the row's number within its source, from 0 on.
            where: names the row in errors.

        Raises:
            ConfigurationError: the row lacks a column, or a cell is empty.
        """
        raise NotImplementedError

    def grade(self, text: str, problem: Problem) -> bool:
        """Whether the answer is right; raises as :meth:`relay_core.evaluate.task.Task.grade`."""
        raise NotImplementedError

    def answer_in(self, text: str) -> str | None:
        """See :meth:`Benchmark.answer_in`."""
        raise NotImplementedError

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of all problems, sorted."""
        return tuple(sorted({problem.group for problem in self._all} - {""}))

    def problems(
        self, split: str = "test", n: int | None = None, *, seed: int = 0, mix: Mapping[str, float] | None = None
    ) -> list[Problem]:
        """Draw ``n`` problems in random order, or all of them.

        Raises:
            ConfigurationError: the split is not ``test``, it has too few problems, or the rows cannot be read or lack
                a column.
            MissingExtraError: reading needs a package that is not installed.
        """
        if split != "test":
            raise ConfigurationError(f"{self.name} has no split {split!r}: a benchmark has the split test only")
        return splitting.draw(self._all, n, seed=seed, mix=mix, source=self.name)

    def size(self, split: str = "test") -> int:
        """The number of problems."""
        return len(self.problems(split))

    @cached_property
    def _all(self) -> list[Problem]:
        """The problems of all sources, read once."""
        problems: list[Problem] = []
        for source in self.sources:
            rows, name = source.rows(self._data_dir)
            read = (self.problem(row, number, f"{name}, row {number + 1}") for number, row in enumerate(rows))
            problems += [problem for problem in read if problem is not None]
        ids = [problem.id for problem in problems]
        if len(set(ids)) < len(ids):
            twice = next(id for id in ids if ids.count(id) > 1)
            raise ConfigurationError(f"{self.name}: two rows have the id {twice!r}; ids must be unique")
        return problems


def asked(question: Any) -> tuple[Message, ...]:
    """The prompt: one user message with the question and the paper's instruction."""
    return ({"role": "user", "content": f"{str(question).strip()}\n{INSTRUCTION}"},)
