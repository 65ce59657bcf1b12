"""The figures of a rollout, for ``rollouts.jsonl``, TensorBoard or W&B, the plot and the live table.

Shares and means are over answers unless stated otherwise. A figure without anything to average is left out.

    accuracy, reward, called     right answers, mean reward, answers with a call: of the answers in the loss
    accuracy/NAME, called/NAME   the same in one group of problems
    reward/SCENARIO              mean reward in the groups of answers with this scenario
    groups/SCENARIO              share of the groups of answers with this scenario
    call_ratio                   teacher tokens / all tokens
    calls, refused, failed_calls, malformed     counts per answer; calls include failed ones
    requested, received          tokens per call; a failed call received those that came before it failed
    truncated, truncated_called  answers that a limit cut, and those of them with a call
    dropped, ungraded            answers left out of the loss, and those of them that could not be graded; of the others
                                 the teacher failed
    tokens                       tokens of an answer, by both models
    student_tokens/mean|min|max  tokens of an answer without the teacher's
    teacher_seconds/mean|p95     duration of a call
    tokens_per_s                 tokens by both models per second of the rollout
    sampler_gap/mean|max         absolute difference between the log-probabilities of sampler and trainer, of a token
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from relay_core.evaluate.task import in_task_order
from relay_core.train.rewards import Scenario

Row = Mapping[str, Any]


def figures(rows: Sequence[Row], order: Sequence[str] = (), *, seconds: float | None = None) -> dict[str, float]:
    """The figures of the answers of one rollout, of all processes.

    Args:
        rows: one mapping per answer, with the columns of ``records.py``.
        order: the task's groups of problems, in the order in which reports show them.
        seconds: the time in which the answers were generated; ``None`` leaves out ``tokens_per_s``.
    """
    kept = [row for row in rows if not row["dropped"]]
    tokens = sum(row["tokens"] for row in rows)
    requested, received, call_seconds = (
        [value for row in rows for value in row[name]] for name in ("requested", "received", "call_seconds")
    )
    gaps = [row["sampler_gap"] for row in rows if row.get("sampler_gap") is not None]
    means = [row["sampler_gap_mean"] for row in rows if row.get("sampler_gap_mean") is not None]
    student_tokens = [row["tokens"] - row["teacher_tokens"] for row in rows]
    values = {
        "accuracy": _mean(row["correct"] for row in kept),
        "call_ratio": sum(row["teacher_tokens"] for row in rows) / max(1, tokens),
        "called": _mean(row["called"] for row in kept),
        **{name: _mean(row[name] for row in rows) for name in ("calls", "refused", "failed_calls", "malformed")},
        "truncated": _mean(row["truncated"] for row in rows),
        "truncated_called": _mean(row["truncated"] and row["called"] for row in rows),
        "dropped": _mean(row["dropped"] for row in rows),
        "ungraded": _mean(row.get("ungraded", False) for row in rows),
        "tokens": _mean(row["tokens"] for row in rows),
        "reward": _mean(row["reward"] for row in kept),
        "requested": _mean(requested),
        "received": _mean(received),
        "student_tokens/mean": _mean(student_tokens),
        "student_tokens/min": min(student_tokens, default=None),
        "student_tokens/max": max(student_tokens, default=None),
        "teacher_seconds/mean": _mean(call_seconds),
        "teacher_seconds/p95": _p95(call_seconds),
        "tokens_per_s": tokens / seconds if seconds else None,
        "sampler_gap/mean": _mean(means),
        "sampler_gap/max": max(gaps, default=None),
        **_by_scenario(kept),
        **_by_problem_group(kept, order),
    }
    return {name: float(value) for name, value in values.items() if value is not None}


def _by_scenario(kept: Sequence[Row]) -> dict[str, float | None]:
    scenario_of = {row["problem"]: row["scenario"] for row in kept if row["scenario"] is not None}
    groups = list(scenario_of.values())
    shares = {f"groups/{s}": groups.count(s) / len(groups) if groups else None for s in Scenario}
    rewards = {f"reward/{s}": _mean(row["reward"] for row in kept if row["scenario"] == s) for s in Scenario}
    return {**shares, **rewards}


def _by_problem_group(kept: Sequence[Row], order: Sequence[str]) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    for name in in_task_order((row["group"] for row in kept), order):
        rows = [row for row in kept if row["group"] == name]
        values[f"accuracy/{name}"] = _mean(row["correct"] for row in rows)
        values[f"called/{name}"] = _mean(row["called"] for row in rows)
    return values


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else None


def _p95(values: Sequence[float]) -> float | None:
    """The 95th percentile, by nearest rank."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1] if values else None
