"""A task from a dataset: problems in named columns of JSONL files, Parquet files or a hub dataset, and a grader.

For example, a row of ``openai/gsm8k``, and a task that reads it:

    {"question": "Natalia sold clips to 48 of her friends ...", "answer": "Natalia sold 48/2 = ... #### 72"}

    DatasetTask(path="openai/gsm8k", config="main", grader="number", splits={"train": "train", "test": "test"})

The dataset is read only when problems or groups are requested.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from relay_core.engines.base import Message
from relay_core.errors import ConfigurationError, did_you_mean
from relay_core.evaluate import splits as splitting
from relay_core.evaluate.dataset_rows import Location, Row, cell, file_rows, hub_rows, locate
from relay_core.evaluate.graders import Grader, grader_from_spec
from relay_core.evaluate.task import Problem

FILE_SPLITS: Mapping[str, float] = {"train": 0.8, "dev": 0.1, "test": 0.1}
HUB_SPLITS: Mapping[str, str] = {"train": "train", "test": "test"}


@dataclass(frozen=True, kw_only=True)
class DatasetTask:
    """A dataset with named columns, as a :class:`~relay_core.evaluate.task.Task`.

    Args:
        path: a .jsonl or .parquet file, a folder of such files, or a hub id such as ``openai/gsm8k``.
        question: the column with the user's message; ``question`` if neither this nor ``messages`` is set.
        messages: the column with a list of ``{"role", "content"}`` messages, instead of ``question``.
        answer: the column with the right answer, of any type that the grader accepts.
        group: the column with the problem's group; ``None`` for a task without groups.
        cluster: the column with what several problems share, such as the text that they ask about (see
            :class:`~relay_core.evaluate.task.Problem`); ``None`` if every problem is on its own.
        id: the column with the problem's id; ``None`` numbers the rows.
        system: a system message to put before every prompt.
        splits: name -> content of each split. The content is a file of the folder, a split of the hub dataset, or a
            share (0 to 1) of the file or of the hub's split ``train``. Default for a file: ``train`` 0.8, ``dev`` 0.1
            and ``test`` 0.1; for the hub: its splits ``train`` and ``test``. A prompt that is in several splits stays
            in the last of them, in the order of this mapping.
        split_seed: determines which problem goes to which share.
        config: the hub dataset's configuration, if it has several.
        grader: how an answer is graded; see :mod:`relay_core.evaluate.graders`.

    Raises:
        ConfigurationError: a value cannot be used, or a file does not exist. ``problems`` and ``groups`` raise it too,
            if the dataset lacks a column or a cell is empty.
        MissingExtraError: the grader needs a package that is not installed.
    """

    path: str
    question: str | None = None
    messages: str | None = None
    answer: str = "answer"
    group: str | None = None
    cluster: str | None = None
    id: str | None = None
    system: str | None = None
    splits: Mapping[str, str | float] | None = None
    split_seed: int = 0
    config: str | None = None
    grader: str = "exact"

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> DatasetTask:
        """A task from plain values, such as a recipe's ``task`` section.

        Raises:
            ConfigurationError: a name is unknown, there is no path, or a value cannot be used.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise ConfigurationError(f"a task has no {name!r}; {did_you_mean(name, known)}")
        if "path" not in values:
            raise ConfigurationError(f"the task has {', '.join(values) or 'nothing'} but no path: write path: FILE")
        return cls(**values)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name not in ("splits", "split_seed", "system") and value is not None and not _is_name(value):
                raise ConfigurationError(f"task.{field.name} is {value!r}: write a text that is not empty")
        if not isinstance(self.split_seed, int):
            raise ConfigurationError(f"task.split_seed is {self.split_seed!r}: write a whole number")
        if self.question is not None and self.messages is not None:
            raise ConfigurationError("task.question and task.messages are both given: write one of the two columns")
        _check_splits(self.path, self._location, self._splits)
        grader_from_spec(self.grader)

    # -- the protocol ----------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The hub id, or the file's or folder's name without its suffix."""
        return self.path if self._location is Location.HUB else Path(self.path).stem

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of all problems, sorted."""
        present = {problem.group for problems in self._problems.values() for problem in problems}
        return tuple(sorted(present - {""}))

    def problems(
        self, split: str, n: int | None = None, *, seed: int = 0, mix: Mapping[str, float] | None = None
    ) -> list[Problem]:
        """Draw ``n`` problems from a split, in random order; as :meth:`relay_core.evaluate.task.Task.problems`."""
        if split not in self._splits:
            raise ConfigurationError(
                f"the task {self.name} has no split {split!r}; {did_you_mean(split, self._splits)}"
            )
        source = f"the split {split!r} of {self.name}"
        return splitting.draw(self._problems[split], n, seed=seed, mix=mix, source=source)

    def size(self, split: str) -> int:
        """The number of problems in a split."""
        return len(self.problems(split))

    def grade(self, text: str, problem: Problem) -> bool:
        """Whether ``text`` holds the problem's answer, according to the task's grader."""
        return self._grader(text, problem.answer)

    # -- from rows to problems -------------------------------------------------------------------------------

    @property
    def _location(self) -> Location:
        return locate(self.path)

    @property
    def _splits(self) -> Mapping[str, str | float]:
        if self.splits is not None:
            return self.splits
        return HUB_SPLITS if self._location is Location.HUB else FILE_SPLITS

    @cached_property
    def _grader(self) -> Grader:
        return grader_from_spec(self.grader)

    @cached_property
    def _problems(self) -> splitting.Splits:
        """All problems by split; the dataset is read once."""
        parts = {split: part for split, part in self._splits.items() if isinstance(part, str)}
        if not parts:
            shares = {split: float(share) for split, share in self._splits.items()}
            return splitting.by_share(self._read("train", prefix=""), shares, self.split_seed)
        read = {split: self._read(part, prefix=f"{split}/") for split, part in parts.items()}
        return splitting.without_shared(read)

    def _read(self, part: str, *, prefix: str) -> list[Problem]:
        """Read the problems of one part: the file, a file of the folder, or a split of the hub dataset.

        Args:
            part: the name of the folder's file or of the hub's split; unused for a single file.
            prefix: put before the numbers of the rows, so that ids are unique among the parts.
        """
        if self._location is Location.HUB:
            rows, source = hub_rows(self.path, self.config, part), f"{self.path} ({part})"
        else:
            file = Path(self.path).expanduser()
            file = file / part if self._location is Location.FOLDER else file
            rows, source = file_rows(file), str(file)
        problems = [self._problem(row, f"{prefix}{i}", f"{source}, row {i + 1}") for i, row in enumerate(rows)]
        ids: set[str] = set()
        for problem in problems:
            if problem.id in ids:
                raise ConfigurationError(f"{source}: two rows have the id {problem.id!r}; ids must be unique")
            ids.add(problem.id)
        return problems

    def _problem(self, row: Row, default_id: str, source: str) -> Problem:
        return Problem(
            id=default_id if self.id is None else str(cell(row, self.id, source)),
            messages=self._prompt(row, source),
            answer=cell(row, self.answer, source),
            group="" if self.group is None else str(cell(row, self.group, source)),
            cluster="" if self.cluster is None else str(cell(row, self.cluster, source)),
        )

    def _prompt(self, row: Row, source: str) -> tuple[Message, ...]:
        system: list[Message] = [] if self.system is None else [{"role": "system", "content": self.system}]
        if self.messages is None:
            question = cell(row, self.question or "question", source)
            return (*system, {"role": "user", "content": str(question)})
        messages = cell(row, self.messages, source)
        if not isinstance(messages, Sequence) or not all(isinstance(m, Mapping) and "role" in m for m in messages):
            raise ConfigurationError(f"{source}: {self.messages!r} must hold a list of messages with role and content")
        if system and messages[0]["role"] == "system":
            raise ConfigurationError(f"{source}: the prompt has a system message already; leave out task.system")
        return (*system, *(dict(message) for message in messages))


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _check_splits(path: str, location: Location, splits: Mapping[str, str | float]) -> None:
    """Raise ConfigurationError unless the splits fit the dataset: names of parts, or shares of one part."""
    if not isinstance(splits, Mapping) or not splits:
        raise ConfigurationError(f"task.splits is {splits!r}: write a mapping, such as train: 0.9 and test: 0.1")
    parts = [part for part in splits.values() if isinstance(part, str)]
    shares = [share for share in splits.values() if isinstance(share, (int, float)) and not isinstance(share, bool)]
    if len(parts) != len(splits) and len(shares) != len(splits):
        raise ConfigurationError(f"task.splits is {dict(splits)}: write names only, or shares only")
    if shares and (min(shares) <= 0 or sum(shares) > 1 + 1e-9):
        raise ConfigurationError(f"task.splits is {dict(splits)}: write shares above 0 that add up to at most 1")
    if len(set(parts)) < len(parts):
        raise ConfigurationError(f"task.splits is {dict(splits)}: two splits are the same; write shares of one")
    if location is Location.FILE and parts:
        raise ConfigurationError(f"task.splits names files, but {path} is a file: write shares, or a folder's path")
    if location is Location.FOLDER:
        if shares:
            raise ConfigurationError(f"{path} is a folder: write task.splits with the file of each split")
        for part in parts:
            if not (Path(path).expanduser() / part).is_file():
                raise ConfigurationError(f"there is no file {part} in {path}, which task.splits names")
