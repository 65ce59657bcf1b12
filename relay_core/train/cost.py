"""What training has cost so far, by stage: its time, and the tokens that the teacher read and wrote.

The tokens are counted in the files that a resumed run goes on with. Answers that it did not keep, such as those of a
rollout that was repeated after a kill, are not among them. The time is kept in ``clock.json``, over all sittings of a
run; of the last :data:`EVERY_S` before a kill, nothing may be in it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relay_core.errors import ConfigurationError
from relay_core.evaluate.store import read_rows, write_json
from relay_core.train import processes, records
from relay_core.usage import Usage

EVERY_S = 20.0
STAGES = ("distill", "warmup", "filter", "grpo")


@contextmanager
def timed(out: Path, stage: str, *, every_s: float = EVERY_S) -> Iterator[None]:
    """Add the time of a block to a stage's, in ``clock.json``; in the main process only.

    Args:
        out: the run's folder.
        stage: one of :data:`STAGES`.
        every_s: how often the time is written, in seconds.
    """
    if not processes.is_main():
        yield
        return
    before, began, ended = _seconds(out).get(stage, 0.0), time.monotonic(), threading.Event()

    def write() -> None:
        write_json(out / "clock.json", {**_seconds(out), stage: round(before + time.monotonic() - began, 2)})

    def keep_writing() -> None:
        while not ended.wait(every_s):
            write()

    keeper = threading.Thread(target=keep_writing, name="clock", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()
        write()


def counted(usage: Usage) -> dict[str, int]:
    """The tokens of a teacher's own answer, for its row: the teacher answers in the student's place there."""
    return {"tokens": usage.student_tokens, "read": usage.student_prompt_tokens}


def of_training(out: Path) -> dict[str, dict[str, float | None]]:
    """What each stage that has run has cost: ``seconds``, and the tokens ``teacher_read`` and ``teacher_wrote``.

    ``teacher_read`` counts a context again for every request that holds it, also where the teacher had it in its cache.
    ``None``: not counted, by an earlier version.

    Args:
        out: the run's folder.
    """
    tokens_of: dict[str, Callable[[], tuple[int | None, int | None]]] = {
        "distill": lambda: _answers(out / "distill" / "answers.jsonl"),
        "warmup": lambda: _warmup(out / "warmup"),
        "filter": lambda: _answers(out / "filter" / "answers.jsonl"),
        "grpo": lambda: _rollouts(out / "grpo"),
    }
    seconds = _seconds(out)
    return {
        stage: {"seconds": seconds[stage], "teacher_read": tokens[0], "teacher_wrote": tokens[1]}
        for stage in STAGES
        if stage in seconds
        for tokens in [tokens_of[stage]()]
    }


def sentence(costs: Mapping[str, Mapping[str, float | None]]) -> str:
    """The cost of all stages in one sentence; empty if no stage has run."""
    if not costs:
        return ""
    hours = sum(cost["seconds"] or 0.0 for cost in costs.values()) / 3600
    taken = f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.0f} minutes"
    counts = [[cost[name] for cost in costs.values()] for name in ("teacher_read", "teacher_wrote")]
    if any(None in count for count in counts):
        return f"Training took {taken}."
    read, wrote = (sum(n or 0 for n in count) for count in counts)
    return f"Training took {taken}, in which the teacher read {read:,.0f} tokens and wrote {wrote:,.0f}."


def _seconds(out: Path) -> dict[str, float]:
    file = out / "clock.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def _answers(file: Path) -> tuple[int | None, int | None]:
    """The teacher's own answers, with :func:`counted`; not known for a file from before they were counted."""
    rows = read_rows(file)
    if any("read" not in row for row in rows):
        return None, None
    return sum(row["read"] for row in rows), sum(row["tokens"] for row in rows)


def _warmup(folder: Path) -> tuple[int, int]:
    """What the sources of the rows report; without a teacher, nothing."""
    file = folder / "rows.json"
    report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return report.get("teacher_read", 0), report.get("teacher_wrote", 0)


def _rollouts(folder: Path) -> tuple[int, int]:
    """The calls of every rollout."""
    from pyarrow import parquet

    try:
        files = records.files(folder)
    except ConfigurationError:  # none yet
        return 0, 0
    columns = (parquet.read_table(file, columns=["usage"])["usage"] for file in files.values())
    usages = [usage for column in columns for usage in column.to_pylist()]
    return sum(u["teacher_prompt_tokens"] for u in usages), sum(u["teacher_tokens"] for u in usages)
