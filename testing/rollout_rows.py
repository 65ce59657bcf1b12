"""Answers of rollouts as training records them, written by hand: for tests of what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relay_core.usage import Usage

SOLVABLE, DEPENDENT, UNSOLVABLE = "student-solvable", "teacher-dependent", "teacher-unsolvable"
ALONE = [("student", "6 + 7 = 13.")]
HELPED = [("student", "6 * 47 = "), ("command", "<call>3</call>"), ("teacher", "282"), ("student", ".\nDone.")]


def answer(problem: str, k: int, segments: Sequence[tuple[str, str]] = ALONE, **values: Any) -> dict[str, Any]:
    """One answer with all columns of ``relay_core/train/records.py`` but ``step``.

    Args:
        problem: the problem's id.
        k: the answer's number in its group.
        segments: author and text of each part; every character counts as a token.
        values: columns to replace.
    """
    authors = [author for author, text in segments for _ in text]
    calls = sum(author == "teacher" for author, _ in segments)
    received = [len(text) for author, text in segments if author == "teacher"]
    usage = Usage(prompt_tokens=3, student_tokens=len(authors) - sum(received), teacher_tokens=sum(received))
    row = {
        "problem": problem, "group": "", "k": k, "rank": 0, "seed": 2**62 + k, "scenario": SOLVABLE,
        "text": "".join(text for author, text in segments if author != "command"),
        "segments": [{"author": author, "text": text} for author, text in segments],
        "prompt_ids": [1, 2, 3], "completion_ids": list(range(len(authors))), "authors": authors,
        "env_mask": [int(author != "teacher") for author in authors],
        "logprobs": [None if author == "teacher" else -0.5 for author in authors],
        "finish_reason": "stop", "truncated": False, "correct": True, "dropped": False, "ungraded": False,
        "reward": 1.0, "called": calls > 0, "calls": calls, "failed_calls": 0, "refused": 0, "malformed": 0,
        "requested": [3] * calls, "received": received, "call_seconds": [0.25] * calls,
        "call_ratio": usage.call_ratio, "tokens": len(authors), "teacher_tokens": sum(received),
        "cost": None, "sampler_gap": 1e-6, "sampler_gap_mean": 1e-7, "usage": usage.as_dict(), "seconds": 1.5,
    }  # fmt: skip
    return {**row, **values}


def run_folder(out: Path) -> Path:
    """A run's folder with the rollouts of steps 0 and 2, of two groups of two answers each."""
    from relay_core.train.records import RolloutFile

    wrong = {"correct": False, "reward": 0.0}
    file = RolloutFile(out / "grpo")
    file.write(0, [
        answer("add", 0, reward=1.5), answer("add", 1, **wrong),
        answer("multiply", 0, HELPED, scenario=DEPENDENT, reward=0.9),
        answer("multiply", 1, scenario=DEPENDENT, correct=False, reward=-1.0, truncated=True, finish_reason="length"),
    ])  # fmt: skip
    file.write(2, [
        answer("divide", 0, scenario=UNSOLVABLE, **wrong),
        answer("divide", 1, HELPED, scenario=UNSOLVABLE, correct=False, reward=0.1),
        answer("add", 0, reward=1.5),
        answer("add", 1, HELPED, correct=None, dropped=True, reward=None, scenario=None, failed_calls=1, received=[0]),
    ])  # fmt: skip
    return out
