"""Warnings about a run that can learn nothing: no answer calls, or all answers of each group have the same reward."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from relay_core.train import processes

IN_A_ROW = 3
"""After so many rollouts in a row without a difference in any group, a warning is printed, once."""


class RolloutWatch:
    """Looks at each rollout's answers, and warns on standard error.

    Args:
        calls: whether the student may call (``grpo.calls``).
    """

    def __init__(self, *, calls: bool) -> None:
        self._calls = calls
        self._seen = self._equal = 0

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Look at the answers of one rollout, of all processes."""
        self._seen += 1
        if self._calls and self._seen == 1 and not any(r["calls"] + r["refused"] + r["malformed"] for r in rows):
            processes.say(
                "warning: no answer of this rollout holds a command, so the student cannot learn when to call: raise "
                "warmup.problems, warmup.draws, warmup.trainer.learning_rate or warmup.trainer.num_train_epochs, and "
                "choose another --out"
            )
        self._equal = self._equal + 1 if _is_equal(rows) else 0
        if self._equal == IN_A_ROW:
            processes.say(
                f"warning: in {IN_A_ROW} rollouts in a row, the answers of each group have the same reward "
                f"({_why(rows)}): such rollouts train nothing"
            )


def _is_equal(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether no group has answers of different rewards; dropped answers have none."""
    rewards: dict[str, set[float]] = defaultdict(set)
    for row in rows:
        if not row["dropped"]:
            rewards[row["problem"]].add(row["reward"])
    return all(len(values) == 1 for values in rewards.values())


def _why(rows: Sequence[Mapping[str, Any]]) -> str:
    graded = [row["correct"] for row in rows if not row["dropped"]]
    if not graded:
        return "all answers were dropped, because the teacher failed or they could not be graded"
    if all(graded):
        return "all answers are right: the problems are too easy"
    if any(graded):
        return "the answers to each problem are all right or all wrong: raise grpo.group_size or grpo.temperature"
    return "all answers are wrong: the problems are too hard, relay.max_tokens too low, or task.grader does not fit"
