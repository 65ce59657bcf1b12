"""Checks of a recipe's values alone, which take no time: every stage begins with them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.util import find_spec

from relay_core import extras
from relay_core.errors import ConfigurationError
from relay_core.train import grpo, models
from relay_core.train.checks.findings import Check, Inspection, Level
from relay_core.train.memory import is_sharded
from relay_core.train.policies.base import Policy
from relay_core.train.policies.choice import policy_for
from relay_core.train.reporting import check_report_to
from relay_core.train.supervised import trainer_values
from relay_core.train.trainer import arguments

Found = Iterator[tuple[Level, str]]

FEW_STEPS = 50
"""Fewer optimizer steps of warm-up than these are a warning."""
_EPOCHS = 3  # the Trainer's own default


def packages(inspection: Inspection) -> Found:
    """The packages of training, and those that a value of the recipe needs."""
    models.require_extra()
    recipe = inspection.recipe
    if recipe.lora.r and find_spec("peft") is None:
        yield Level.ERROR, f"lora.r is {recipe.lora.r}, which needs peft: {extras.install_line('train')}"
    for section in ("distill", "warmup", "grpo"):
        trainer = getattr(recipe, section).trainer
        check_report_to(trainer, section)
        if "8bit" in str(trainer.get("optim", "")) and find_spec("bitsandbytes") is None:
            yield Level.ERROR, f"{section}.trainer.optim is {trainer['optim']}, which needs: pip install bitsandbytes"
    yield Level.OK, ", ".join(f"{name} {extras.installed_version(name)}" for name in ("torch", "transformers", "trl"))


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
    _policy(inspection)
    yield Level.OK, f"the student decodes by {config.policy}; reward {config.reward}"


def _policy(inspection: Inspection) -> Policy:
    """The recipe's policy; only that of a server needs the student's tokenizer now."""
    recipe = inspection.recipe
    return policy_for(recipe, inspection.student_tokenizer if recipe.grpo.policy == "server" else None)


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


def warm_up(inspection: Inspection) -> Found:
    """Whether warm-up with random commands has enough optimizer steps to teach the command."""
    config = inspection.recipe.warmup
    if config.source != "random" or not inspection.recipe.grpo.calls:
        return
    epochs = float(config.trainer.get("num_train_epochs", _EPOCHS))
    steps = int(config.trainer.get("max_steps", 0))
    steps = steps if steps > 0 else math.ceil(config.problems * config.draws / config.batch_size * epochs)
    if steps < FEW_STEPS:
        yield (
            Level.WARNING,
            f"warm-up has {steps} optimizer steps, after which a student may write no command: raise warmup.problems, "
            "warmup.draws or warmup.trainer.num_train_epochs, or lower warmup.batch_size",
        )
    else:
        yield Level.OK, f"warm-up has about {steps} optimizer steps"


def trl_values(inspection: Inspection) -> Found:
    """Whether TRL accepts the values of both trainers."""
    from trl import GRPOConfig, SFTConfig

    from relay_core.train.processes import world_size

    recipe, out = inspection.recipe, inspection.out
    for stage, section in recipe.supervised.items():
        for world in (inspection.world, world_size()):
            values = trainer_values(section, out / stage, seed=recipe.seed, world=world, stage=stage)
        arguments(SFTConfig, stage, values)
    values = {**_policy(inspection).trainer_values, **grpo.trainer_values(recipe, out / "grpo", world_size())}
    accepted = arguments(GRPOConfig, "grpo", values)
    if accepted.mask_truncated_completions:
        raise ConfigurationError(
            "grpo.trainer.mask_truncated_completions must be false: an answer that the teacher ended has no end token, "
            "and would be masked"
        )
    yield Level.OK, f"TRL accepts {' and '.join(f'{stage}.trainer' for stage in (*recipe.supervised, 'grpo'))}"


CHECKS = (
    Check("packages", packages),
    Check("policy", policy),
    Check("batches", batches),
    Check("TRL", trl_values),
    Check("warm-up", warm_up),
)
