"""The pairs of models whose tables can be reproduced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from relay_core.errors import ConfigurationError, did_you_mean


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A pair of models.

    Args:
        name: its name on the command line.
        student, base, teacher: engine specs: the student that calls, the one before training, and the teacher.
        benchmarks: what is measured; the first one is the pair's own task.
        unseen: the benchmark that no training has seen; empty without one.
        methods: what is measured, beside the trained students. ``{citer}`` stands for the head's folder.
        ablations: name -> flags of ``python -m relay_core.train all`` for each student of the paper's ablations; the
            first one is the recipe itself, with which the others are compared. Empty where none is trained.
        recipe: the flags that all of them share.
        weak_teachers: label -> spec of other teachers, the weakest first.
        limit: problems of each benchmark.
        settings: of every answer.
    """

    name: str
    student: str
    base: str | None
    teacher: str
    benchmarks: Sequence[str]
    methods: Sequence[str]
    unseen: str = ""
    ablations: Mapping[str, Sequence[str]] = field(default_factory=dict)
    recipe: Sequence[str] = ()
    weak_teachers: Mapping[str, str] = field(default_factory=dict)
    limit: int = 1000
    settings: Mapping[str, object] = field(default_factory=dict)


BUNDLED = Pair(
    name="bundled",
    student="bundled:student-relay",
    base="bundled:student-base",
    teacher="bundled:teacher",
    benchmarks=("bundled", "bundled-unseen", "bundled-retrieval"),
    unseen="bundled-unseen",
    methods=(
        "student", "grpo", "relay", "teacher", "teacher-free", "fixed:20", "fixed:100", "hand-off", "random-router",
        "random-tokens", "uncertain", "cascade", "{citer}",
    ),
    ablations={
        "difficulty-aware": (),
        "simple": ("--reward", "simple"),
        "no-filter": ("--no-filter",),
        "no-independence-bonus": ("--no-independence-bonus",),
        "no-exploration": ("--no-exploration",),
    },
    recipe=("--recipe", "bundled", "--grpo.rollouts", "32"),
    weak_teachers={"the untrained student": "bundled:student-base", "plain GRPO": "bundled:student-grpo"},
    settings={"max_tokens": 288},
)  # fmt: skip
PAIRS = {pair.name: pair for pair in (BUNDLED,)}


def pair_named(name: str) -> Pair:
    """The pair of this name.

    Raises:
        ConfigurationError: there is none.
    """
    if name not in PAIRS:
        raise ConfigurationError(f"no pair is called {name!r}; {did_you_mean(name, PAIRS)}")
    return PAIRS[name]
