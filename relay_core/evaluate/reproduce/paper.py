"""The paper's own figures (arXiv 2601.05167), beside which ours stand. Accuracies and call ratios are in per cent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

#: method -> accuracy and call ratio of Qwen3-1.7B with Qwen3-8B, the mean of the paper's six benchmarks
MAIN: Mapping[str, tuple[float, float | None]] = {
    "student": (42.50, None),
    "grpo": (44.06, None),
    "citer": (46.81, 1.34),
    "relay": (49.52, 1.07),
    "teacher": (54.12, 100.0),
}
#: student -> accuracy and call ratio of the same pair, in the paper's ablations of rewards and filter
ABLATIONS: Mapping[str, tuple[float | None, float | None]] = {
    "difficulty-aware": (49.52, 1.07),
    "simple": (49.30, 0.43),
    "no-filter": (48.76, None),
    "no-independence-bonus": (None, 4.10),
    "no-exploration": (47.56, None),
}
SAVED = 98.2  # per cent of the teacher tokens of the performance-matched random router
AHEAD = 6.9  # points of accuracy, against the cost-matched one


@dataclass(frozen=True, kw_only=True)
class Direction:
    """A comparison that the paper makes: ``first`` minus ``second`` has the sign of ``sign``.

    ``first`` and ``second`` are methods, or ``ablation:NAME`` for a student of the ablations, or ``weak:LABEL`` for the
    relay with a weaker teacher. ``what`` is the figure that is compared. ``groups``: only these groups of problems;
    none means all. ``on``: the benchmark, or ``unseen``. ``said``: the paper's words, in short.
    """

    said: str
    first: str
    second: str
    what: Literal["accuracy", "call_ratio"]
    sign: Literal[1, -1]
    on: str = ""
    groups: Sequence[str] = ()


def directions(weak: Sequence[str], easy: Sequence[str], hard: Sequence[str]) -> list[Direction]:
    """The paper's comparisons, for a pair with these weaker teachers, and these groups of easy and hard problems."""
    full = "ablation:difficulty-aware"
    made = [
        Direction(said="the simple reward is less accurate (49.30 to 49.52)", first="ablation:simple", second=full,
                  what="accuracy", sign=-1),
        Direction(said="the simple reward calls less (0.43% to 1.07%)", first="ablation:simple", second=full,
                  what="call_ratio", sign=-1),
        Direction(said="without the filter, accuracy falls (48.76 to 49.52)", first="ablation:no-filter", second=full,
                  what="accuracy", sign=-1),
        Direction(said="without the filter, the call ratio triples", first="ablation:no-filter", second=full,
                  what="call_ratio", sign=1),
        Direction(said="without the independence bonus, the call ratio rises (4.10% to 1.07%)",
                  first="ablation:no-independence-bonus", second=full, what="call_ratio", sign=1),
        Direction(said="without exploration, accuracy falls (47.56 to 49.52)", first="ablation:no-exploration",
                  second=full, what="accuracy", sign=-1),
        Direction(said="teacher-free is ahead of plain GRPO on easy sets (61.12)", first="teacher-free", second="grpo",
                  what="accuracy", sign=1, groups=easy),
        Direction(said="teacher-free falls on hard sets (15.00 to 11.93)", first="teacher-free", second="relay",
                  what="accuracy", sign=-1, groups=hard),
        Direction(said="the dynamic length needs fewer teacher tokens than Fixed-20", first="relay", second="fixed:20",
                  what="call_ratio", sign=-1),
        Direction(said="Fixed-100 is as accurate and costs more (2.87%)", first="fixed:100", second="relay",
                  what="call_ratio", sign=1),
        Direction(said="on unseen problems, the relay is ahead of plain GRPO (59.03 to 49.76)", first="relay",
                  second="grpo", what="accuracy", sign=1, on="unseen"),
    ]  # fmt: skip
    made += [
        Direction(said=f"a weaker teacher ({label}) still beats no teacher", first=f"weak:{label}",
                  second="teacher-free", what="accuracy", sign=1)
        for label in weak
    ]  # fmt: skip
    return [
        *made,
        *(Direction(said=f"the teacher of training is better than a weaker one ({label})", first="relay",
                    second=f"weak:{label}", what="accuracy", sign=1) for label in weak),
    ]  # fmt: skip
