"""Checks of the machine: memory and disk, against estimates."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from relay_core.chat import Conversation, render
from relay_core.engines.transformers.footprint import GIB
from relay_core.train.checks.findings import Check, Inspection, Level
from relay_core.train.memory import FLOAT32, adapter_count, estimate, optimizer_bytes, parameter_count

Found = Iterator[tuple[Level, str]]

TIGHT = 0.85
"""The share of what is free above which an estimate is a warning."""
_TOKEN_BYTES = 24
"""What a token of an answer takes in a rollout's Parquet file: its id, its author, log-probability and text."""


def memory(inspection: Inspection) -> Found:
    """Whether each phase of the run fits the devices; if one does not, no later check loads a model."""
    recipe = inspection.recipe
    rendered = [Conversation.of(problem.messages) for problem in inspection.problems["filter"][:100]]
    longest = max(len(render(inspection.student_tokenizer, prompt).token_ids) for prompt in rendered)
    estimated = estimate(recipe, world=inspection.world, prompt_tokens=longest)
    for phase in estimated.phases:
        free = estimated.free[phase.device]
        level = Level.OK if phase.total <= TIGHT * free else Level.WARNING if phase.total <= free else Level.ERROR
        instead = {Level.ERROR: ": ", Level.WARNING: ", and runs took up to a quarter more: "}.get(level)
        advice = f"{instead}{_advice(inspection)}" if instead else ""
        yield level, f"{phase}, of {free / GIB:.2f} GiB free, estimated{advice}"
    for role in estimated.unknown:
        yield Level.WARNING, f"the {role}'s size is not known until it is on this machine"
    if estimated.too_large:
        inspection.no_models = "the memory does not suffice"


def _advice(inspection: Inspection) -> str:
    """What takes less memory, and is not in the recipe yet."""
    recipe = inspection.recipe
    trainer = recipe.grpo.trainer
    reference = (trainer.get("model_init_kwargs") or {}).get("dtype")
    options = {
        "grpo.trainer.gradient_checkpointing: true": not trainer.get("gradient_checkpointing"),
        "grpo.trainer.bf16: true": not trainer.get("bf16"),
        "grpo.trainer.model_init_kwargs: {dtype: bfloat16}": bool(trainer.get("beta")) and reference is None,
        "lora.r: 64": not recipe.lora.r,
        f"grpo.tokens_per_forward: {recipe.grpo.tokens_per_forward // 2}": True,
        "a teacher on a server (openai:MODEL@URL)": not inspection.teacher_specs[0].is_remote and recipe.grpo.calls,
    }
    return "write " + ", or ".join(option for option, helps in options.items() if helps)


def disk(inspection: Inspection) -> Found:
    """Whether checkpoints, models and rollouts fit on the disk."""
    if inspection.config is None:
        return
    recipe = inspection.recipe
    parameters = parameter_count(inspection.config)
    trained = adapter_count(inspection.config, recipe.lora) if recipe.lora.r else parameters
    needed = 0
    for trainer in (*(section.trainer for section in recipe.supervised.values()), recipe.grpo.trainer):
        kept = int(trainer.get("save_total_limit") or 2) + 1  # one more while it is written
        optimizer = optimizer_bytes(str(trainer.get("optim", "adamw")))
        folder = FLOAT32 * (parameters if recipe.lora.merge or not recipe.lora.r else trained)
        needed += kept * trained * (FLOAT32 + optimizer) + folder
    grpo = recipe.grpo
    tokens = grpo.rollouts * grpo.prompts * grpo.group_size * recipe.settings().max_tokens
    needed += tokens * _TOKEN_BYTES // 2  # answers are half as long as they may be, say
    place = next(folder for folder in (inspection.out, *inspection.out.absolute().parents) if Path(folder).exists())
    free = shutil.disk_usage(place).free
    level = Level.OK if needed <= TIGHT * free else Level.WARNING if needed <= free else Level.ERROR
    instead = ": choose another --out, or lower save_total_limit" if level is Level.ERROR else ""
    yield level, f"about {needed / GIB:.1f} GiB of {free / GIB:.1f} GiB free in {place}{instead}"


CHECKS = (Check("memory", memory), Check("disk", disk))
