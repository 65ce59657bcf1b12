"""Checks of a recipe's values alone, which take no time: every stage begins with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from relay_core import extras
from relay_core.errors import ConfigurationError
from relay_core.train import grpo, models
from relay_core.train.checks.findings import Check, Inspection, Level
from relay_core.train.memory import is_sharded
from relay_core.train.trainer import arguments, common_values

Found = Iterator[tuple[Level, str]]


def packages(inspection: Inspection) -> Found:
    """The packages of training, and those that a value of the recipe needs."""
    models.require_extra()
    recipe = inspection.recipe
    needed = {"peft": recipe.lora.r > 0, "vllm": recipe.grpo.policy == "colocate"}
    missing = [name for name, is_needed in needed.items() if is_needed and find_spec(name) is None]
    for name in missing:
        why = f"lora.r is {recipe.lora.r}" if name == "peft" else "grpo.policy is colocate"
        install = extras.install_line("vllm") if name == "vllm" else f"pip install {name}"
        yield Level.ERROR, f"{why}, which needs {name}: {install}"
    for section, trainer in (("warmup", recipe.warmup.trainer), ("grpo", recipe.grpo.trainer)):
        yield from _reporting(section, trainer)
        if "8bit" in str(trainer.get("optim", "")) and find_spec("bitsandbytes") is None:
            yield Level.ERROR, f"{section}.trainer.optim is {trainer['optim']}, which needs: pip install bitsandbytes"
    if not missing:
        shown = ", ".join(f"{name} {extras.installed_version(name)}" for name in ("torch", "transformers", "trl"))
        yield Level.OK, shown


def _reporting(section: str, trainer: Mapping[str, Any]) -> Found:
    """Whether the packages of ``report_to`` are there."""
    from transformers.integrations.integration_utils import (
        INTEGRATION_TO_CALLBACK,
        get_available_reporting_integrations,
    )

    named = trainer.get("report_to", "tensorboard")
    for name in [named] if isinstance(named, str) else named or ():
        if name in ("none", "all"):
            continue
        if name not in INTEGRATION_TO_CALLBACK:
            known = ", ".join(sorted(INTEGRATION_TO_CALLBACK))
            yield Level.ERROR, f"{section}.trainer.report_to: nobody is called {name}; write none or one of {known}"
        elif name not in get_available_reporting_integrations():
            yield Level.ERROR, f"{section}.trainer.report_to is {name}, which is not installed: pip install {name}"


def policy(inspection: Inspection) -> Found:
    """What the policy and the reward need of other values."""
    recipe, config = inspection.recipe, inspection.recipe.grpo
    if config.reward == "bill" and recipe.settings().prices is None:
        yield Level.ERROR, "grpo.reward is bill, which needs prices: write relay.prices, such as {teacher_output: 0.4}"
    if config.policy == "live" and is_sharded():
        yield (
            Level.ERROR,
            "grpo.policy is live, which needs the whole model in each process, but FSDP or ZeRO-3 divides it: write "
            "colocate or server",
        )
    if recipe.settings().enable_thinking:
        yield Level.WARNING, "relay.enable_thinking is true; in the paper, neither model thinks"
    yield Level.OK, f"the student decodes by {config.policy}; reward {config.reward}"


def batches(inspection: Inspection) -> Found:
    """Whether a rollout is divided evenly among processes and updates, and has enough problems."""
    recipe, config, world = inspection.recipe, inspection.recipe.grpo, inspection.world
    grpo.check_batches(config.prompts, config.updates, world)
    if recipe.filter.problems < config.prompts:
        yield (
            Level.ERROR,
            f"a rollout takes grpo.prompts = {config.prompts} problems, and filter.problems = "
            f"{recipe.filter.problems} are drawn: raise filter.problems",
        )
    per_update = config.prompts * config.group_size // config.updates // world
    yield (
        Level.OK,
        f"{config.prompts} prompts x {config.group_size} answers = {config.updates} updates x {world} processes x "
        f"{per_update} answers, in passes of at most {config.tokens_per_forward:,} tokens",
    )


def trl_values(inspection: Inspection) -> Found:
    """Whether TRL accepts the values of both trainers."""
    from trl import GRPOConfig, SFTConfig

    from relay_core.train.processes import world_size

    recipe, out = inspection.recipe, inspection.out
    if recipe.grpo.calls:
        values = {**common_values(out / "warmup", seed=recipe.seed), "max_length": None, **recipe.warmup.trainer}
        arguments(SFTConfig, "warmup", values)
    values = grpo.trainer_values(recipe, out / "grpo", world_size())
    accepted = arguments(GRPOConfig, "grpo", values)
    if accepted.mask_truncated_completions:
        raise ConfigurationError(
            "grpo.trainer.mask_truncated_completions must be false: an answer that the teacher ended has no end token, "
            "and would be masked"
        )
    yield Level.OK, "TRL accepts warmup.trainer and grpo.trainer"


CHECKS = (
    Check("packages", packages),
    Check("policy", policy),
    Check("batches", batches),
    Check("TRL", trl_values),
)
