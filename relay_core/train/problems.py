"""The problems that each stage draws from the task's split ``train``; ``check`` draws the same ones."""

from __future__ import annotations

from typing import Literal

from relay_core.evaluate.task import Problem, Task, up_to
from relay_core.train.recipe import Recipe

# The stages draw different problems: these numbers are added to 1000 times the seed.
_DRAWS = {"warmup": 1, "filter": 2, "blocked": 3}


def training_problems(task: Task, recipe: Recipe, stage: Literal["warmup", "filter", "blocked"]) -> list[Problem]:
    """The problems of a stage: of warm-up, of the data filter (and GRPO), or of the measurement with calls blocked.

    Raises:
        ConfigurationError: the task has no such problems.
    """
    section = recipe.filter if stage == "filter" else recipe.warmup
    n = recipe.warmup.blocked_problems if stage == "blocked" else section.problems
    return list(up_to(task, "train", n, seed=recipe.seed * 1000 + _DRAWS[stage], mix=section.mix))
