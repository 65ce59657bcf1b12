"""The problems that each stage draws from the task's split ``train``; ``check`` draws the same ones."""

from __future__ import annotations

from typing import Literal

from relay_core.errors import ConfigurationError
from relay_core.evaluate.task import Problem, Task, up_to
from relay_core.train.recipe import Recipe
from relay_core.train.sections import Distill, Filter, Warmup

Stage = Literal["distill", "warmup", "filter", "blocked"]

# The stages draw different problems: these numbers are added to 1000 times the seed.
_DRAWS = {"warmup": 1, "filter": 2, "blocked": 3, "distill": 4}


def training_problems(task: Task, recipe: Recipe, stage: Stage) -> list[Problem]:
    """The problems of a stage: of distillation, of warm-up, of the data filter (and GRPO), or of the measurement with
    calls blocked.

    Distillation gets no problem of warm-up: a student that has learnt an answer by heart does not show where it needs
    help.

    Raises:
        ConfigurationError: the task has no such problems.
    """
    section: Distill | Filter | Warmup = recipe.warmup
    if stage in ("distill", "filter"):
        section = recipe.distill if stage == "distill" else recipe.filter
    n = recipe.warmup.blocked_problems if stage == "blocked" else section.problems
    others = {p.id for p in training_problems(task, recipe, "warmup")} if stage == "distill" else set()
    drawn = up_to(task, "train", n + len(others), seed=recipe.seed * 1000 + _DRAWS[stage], mix=section.mix)
    problems = [problem for problem in drawn if problem.id not in others][:n]
    if stage == "distill" and not problems:
        raise ConfigurationError(
            f"warm-up takes all {len(others)} problems of the split train, and distillation learns from others: lower "
            "warmup.problems, or write --distill.problems 0"
        )
    return problems
