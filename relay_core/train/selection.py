"""Selects answers from the recorded rollouts of a run, also while the run is training; ``relay rollouts`` shows them.

Figures of all answers are read from a few narrow columns; texts are read of the selected answers only. A file that
cannot be read is passed over and named in :attr:`Selection.skipped`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relay_core.errors import ConfigurationError
from relay_core.train import records

_NARROW = ("problem", "k", "correct", "called", "dropped", "reward", "scenario")
_WIDE = (
    "step", "problem", "group", "k", "correct", "reward", "scenario", "dropped", "truncated", "finish_reason", "calls",
    "failed_calls", "call_ratio", "requested", "received", "call_seconds", "tokens", "seed", "text", "segments",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Query:
    """Which answers to select; ``None`` and an empty collection select all.

    Args:
        steps: the steps of the rollouts.
        scenarios: the scenarios of the groups of answers.
        problem: the problem's id, or its beginning.
        correct, called, dropped: whether the answer is right, holds a call, is left out of the loss.
        best, worst: of the answers to a problem that are selected otherwise, only the one with the highest reward, with
            the lowest one, or both.
        limit: the most answers; ``None`` for all.
    """

    steps: Collection[int] = ()
    scenarios: Collection[str] = ()
    problem: str | None = None
    correct: bool | None = None
    called: bool | None = None
    dropped: bool | None = None
    best: bool = False
    worst: bool = False
    limit: int | None = None


@dataclass
class Selection:
    """The selected answers, the newest rollout first, and figures of the rollouts in which they were looked for.

    ``groups`` counts groups of answers by scenario. ``correct`` counts right answers among the ``answers - dropped``
    that are in the loss; ``matching`` counts answers before ``limit``; ``skipped`` has a line for each unreadable file.
    """

    rollouts: int = 0
    answers: int = 0
    dropped: int = 0
    correct: int = 0
    matching: int = 0
    groups: Counter[str] = field(default_factory=Counter)
    skipped: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def accuracy(self) -> float | None:
        """The share of right answers among those in the loss; ``None`` if there are none."""
        kept = self.answers - self.dropped
        return self.correct / kept if kept else None


def select(folder: Path, query: Query) -> Selection:
    """Select answers from the rollouts in ``folder``; see :func:`relay_core.train.records.files`.

    Raises:
        ConfigurationError: there are no rollouts, none of the given steps, or no readable file.
        MissingExtraError: pyarrow is not installed.
    """
    records.schema()
    from pyarrow import ArrowException, parquet

    files = records.files(folder)
    if missing := sorted(set(query.steps) - set(files)):
        steps = f"{min(files)} to {max(files)}" if len(files) > 1 else str(min(files))
        raise ConfigurationError(f"{folder} has no rollout at step {missing[0]}: its steps are {steps}")
    selection = Selection()
    for step in sorted(query.steps or files, reverse=True):
        try:
            with parquet.ParquetFile(files[step]) as file:
                _add(selection, file, query)
        except (ArrowException, OSError, ValueError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            selection.skipped.append(f"{files[step].name} cannot be read and is passed over: {reason}")
    if not selection.rollouts:
        raise ConfigurationError(f"no rollout in {folder} can be read: {selection.skipped[0]}")
    return selection


def _add(selection: Selection, file: Any, query: Query) -> None:
    """Count the answers of one file, and add those that match the query; raises ValueError if a column is missing."""
    if missing := sorted(set(_NARROW) - set(file.schema_arrow.names)):
        raise ValueError(f"it has no column {missing[0]}")
    answers = file.read(columns=list(_NARROW)).to_pylist()
    matching = [i for i, answer in enumerate(answers) if _matches(answer, query)]
    if query.best or query.worst:
        matching = _extremes(answers, matching, best=query.best, worst=query.worst)
    room = len(matching) if query.limit is None else max(0, query.limit - len(selection.rows))
    rows = file.read(columns=list(_WIDE)).take(matching[:room]).to_pylist() if matching[:room] else []
    selection.rows += [{name: row.get(name) for name in _WIDE} for row in rows]
    selection.matching += len(matching)
    selection.rollouts += 1
    selection.answers += len(answers)
    selection.dropped += sum(bool(answer["dropped"]) for answer in answers)
    selection.correct += sum(bool(answer["correct"]) and not answer["dropped"] for answer in answers)
    scenarios = {answer["problem"]: answer["scenario"] for answer in answers if answer["scenario"]}
    selection.groups.update(scenarios.values())


def _matches(answer: Mapping[str, Any], query: Query) -> bool:
    return (
        all(
            wanted is None or answer[name] is wanted  # a dropped answer is neither right nor wrong
            for name, wanted in (("correct", query.correct), ("called", query.called), ("dropped", query.dropped))
        )
        and (not query.scenarios or answer["scenario"] in query.scenarios)
        and (query.problem is None or str(answer["problem"]).startswith(query.problem))
    )


def _extremes(answers: list[dict[str, Any]], indices: Iterable[int], *, best: bool, worst: bool) -> list[int]:
    """The indices of the answers with the highest and the lowest reward to each problem; the first one of equals."""
    by_problem: dict[str, list[int]] = {}
    for i in indices:
        if answers[i]["reward"] is not None:
            by_problem.setdefault(answers[i]["problem"], []).append(i)
    chosen: list[int] = []
    for group in by_problem.values():
        ends = ([max(group, key=lambda i: answers[i]["reward"])] if best else []) + (
            [min(group, key=lambda i: answers[i]["reward"])] if worst else []
        )
        chosen += dict.fromkeys(ends)
    return chosen
