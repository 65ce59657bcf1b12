"""What warm-up costs the student: its accuracy with calls blocked, before and after, on the same problems, greedily.

A student that learns to call may learn to lean on the teacher. Its answers without a call show that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from relay_core import portal
from relay_core.engines.base import Engine
from relay_core.evaluate.measure import measure
from relay_core.evaluate.progress import Progress
from relay_core.evaluate.store import write_json
from relay_core.evaluate.task import Problem, Task
from relay_core.relay import Relay
from relay_core.settings import RelaySettings
from relay_core.train import processes


def read(file: Path) -> dict[str, Any]:
    """The figures so far; empty if nothing is measured."""
    values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return values


def measured(
    file: Path,
    when: Literal["before", "after"],
    student: Callable[[], Engine],
    task: Task,
    problems: Sequence[Problem],
    settings: RelaySettings,
) -> None:
    """Measure a student, unless ``file`` has its figures already. The main process does it for all.

    Args:
        file: receives the figures: ``problems`` (their number), ``before`` and ``after`` (``accuracy``, ``bands``,
            ``answer_tokens``), and ``cost``, the accuracy before minus that after.
        when: which figures these are.
        student: builds the engine, which is closed at the end.
        task: grades the answers.
        problems: the problems to answer; without any, nothing is measured.
        settings: the settings of an answer; it is greedy, and calls are refused.

    Raises:
        EngineError: the engine failed.
    """
    values = read(file)
    if not problems or when in values or not processes.is_main():
        return

    async def answer(engine: Engine) -> dict[str, Any]:
        try:
            with Progress(f"warmup, calls blocked, {when}", len(problems)) as progress:
                figures = await measure(
                    Relay(engine, None, settings), task, problems,
                    on_answer=lambda _: progress.step(), calls=False, temperature=0.0,
                )  # fmt: skip
        finally:
            await engine.aclose()
        return {name: getattr(figures, name) for name in ("accuracy", "bands", "answer_tokens")}

    values |= {"problems": len(problems), when: portal.run(answer, student())}
    if "before" in values and "after" in values:
        values["cost"] = values["before"]["accuracy"] - values["after"]["accuracy"]
        print(line(values), file=sys.stderr)
    write_json(file, values)


def line(values: dict[str, Any]) -> str:
    """The figures of :func:`measured` in one sentence."""
    before, after = values["before"]["accuracy"], values["after"]["accuracy"]
    return (
        f"warmup: with calls blocked, the student answers {after:.1%} of {values['problems']} problems right "
        f"({before:.1%} before warm-up), in {values['after']['answer_tokens']:.0f} tokens on average "
        f"({values['before']['answer_tokens']:.0f})"
    )
