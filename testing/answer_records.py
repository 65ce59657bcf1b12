"""A record of an evaluation, written down."""

from __future__ import annotations

from typing import Any

from relay_core.evaluate.outcome import Outcome
from relay_core.evaluate.records import Record, Status
from relay_core.usage import Usage


def record(
    method: str,
    problem: int,
    right: bool,
    *,
    status: Status | None = None,
    sample: int = 0,
    group: str = "",
    cluster: str = "",
    **usage: Any,
) -> Record:
    """An answer of ``method``, which is its label and its curve; by default 80 tokens of the student."""
    usage = {"student_tokens": 80, "prompt_tokens": 10, "student_prompt_tokens": 10, **usage}
    outcome = Outcome(text="", usage=Usage(**usage), finish_reason="stop", seconds=2.0)
    return Record(
        benchmark="b", problem=str(problem), sample=sample, group=group, cluster=cluster, method=method, label=method,
        curve=method, seed=0, gold="1", stated="1", status=status or (Status.RIGHT if right else Status.WRONG),
        outcome=outcome,
    )  # fmt: skip
