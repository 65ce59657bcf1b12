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
        benchmark: the pair's own task.
        methods: what is measured there, beside the trained students. ``{citer}`` stands for the head's folder,
            ``{teacher}`` for the teacher's spec.
        others: other benchmarks, on which fewer methods answer fewer problems.
        others_methods, others_limit: these methods, and the problems of each.
        unseen: the one of the others that no training has seen; empty without one.
        ablations: name -> flags of ``python -m relay_core.train all`` for each student of the paper's ablations; the
            first one is the recipe itself, with which the others are compared. Empty where none is trained.
        recipe: the flags that all of them share.
        weak_teachers: label -> spec of other teachers, the weakest first.
        limit: problems of the pair's own task.
        settings: of every answer.
        seeds: an evaluation for each of them, unless the caller names others.
        processes: the seeds that are evaluated beside each other, unless the caller says otherwise: several for models
            that are too small for more than one core each.
        keeps_answers: whether all answers are committed beside the page, because to make them takes hours.
    """

    name: str
    student: str
    base: str | None
    teacher: str
    benchmark: str
    methods: Sequence[str]
    others: Sequence[str] = ()
    others_methods: Sequence[str] = ()
    others_limit: int = 300
    unseen: str = ""
    ablations: Mapping[str, Sequence[str]] = field(default_factory=dict)
    recipe: Sequence[str] = ()
    weak_teachers: Mapping[str, str] = field(default_factory=dict)
    limit: int = 1000
    settings: Mapping[str, object] = field(default_factory=dict)
    seeds: Sequence[int] = (0, 1)
    processes: int = 1
    keeps_answers: bool = False


BUNDLED = Pair(
    name="bundled",
    student="bundled:student-relay",
    base="bundled:student-base",
    teacher="bundled:teacher",
    benchmark="bundled",
    others=("bundled-unseen", "bundled-retrieval"),
    others_methods=("student", "grpo", "relay", "teacher", "random-router:0.5", "{citer}"),
    unseen="bundled-unseen",
    methods=(
        "student", "grpo", "relay", "teacher", "teacher-free", "fixed:20", "fixed:100", "hand-off", "random-router",
        "random-tokens", "uncertain", "uncertain:0.5,1", "cascade", "speculative:5,limit=200", "{citer}",
        "{citer},0.65", "{citer},0.5",
    ),
    ablations={
        "difficulty-aware": (),
        "simple": ("--reward", "simple"),
        "no-filter": ("--no-filter",),
        "no-independence-bonus": ("--no-independence-bonus",),
        "no-exploration": ("--no-exploration",),
    },
    recipe=("--recipe", "bundled", "--grpo.rollouts", "32"),
    weak_teachers={"the untrained model": "bundled:student-base", "plain GRPO": "bundled:student-grpo"},
    settings={"max_tokens": 288},
    processes=2,
)  # fmt: skip
#: Two pretrained models, without training: all methods that need none. Bounds and rates are written here, since the
#: benchmark's training problems are not at hand where only its file of test problems is.
SMOLLM2 = Pair(
    name="smollm2-135m",
    student="HuggingFaceTB/SmolLM2-135M-Instruct",
    base=None,
    teacher="Qwen/Qwen2.5-Coder-1.5B-Instruct",
    benchmark="gsm8k",
    methods=(
        "student", "teacher", "random-router:0.1", "random-router:0.25", "random-router:0.5",
        "cascade:mean,-0.7", "cascade:mean,-0.5", "cascade:mean,-0.4", "cascade:mean,-0.3",
        "told", "told,base={teacher},label=told (1.5B as the student)",
        "uncertain:0.1,8", "uncertain:0.2,8", "random-tokens:0.012,8,limit=100",
        "speculative:5,limit=15",
    ),
    limit=200,
    settings={"max_tokens": 512, "temperature": 0.0},
    seeds=(0,),
    keeps_answers=True,
)  # fmt: skip
PAIRS = {pair.name: pair for pair in (BUNDLED, SMOLLM2)}


def pair_named(name: str) -> Pair:
    """The pair of this name.

    Raises:
        ConfigurationError: there is none.
    """
    if name not in PAIRS:
        raise ConfigurationError(f"no pair is called {name!r}; {did_you_mean(name, PAIRS)}")
    return PAIRS[name]
