"""Supervised training on rows of ``input_ids`` and ``labels``, with TRL's SFTTrainer: distillation and warm-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from relay_core.chat import Conversation, render
from relay_core.errors import ConfigurationError
from relay_core.evaluate.objections import asked
from relay_core.evaluate.task import Problem
from relay_core.tokenizer import Tokenizer
from relay_core.train import processes
from relay_core.train.checkpoints import disk_errors, last_checkpoint
from relay_core.train.sections import Supervised
from relay_core.train.trainer import TrainerProgress, arguments, common_values, full_state, stops_at_nan, train

IGNORED = -100
"""The label of a token without loss."""
TrainingRows = list[dict[str, list[int]]]
"""Rows of ``input_ids`` and ``labels``."""


def row_behind(
    problem: Problem, student: Tokenizer, ids: list[int], labels: list[int], *, enable_thinking: bool
) -> dict[str, list[int]]:
    """The row of an answer behind the student's own prompt, which has no loss."""
    messages, tools = asked(problem)
    prompt_ids = render(student, Conversation.of(messages, tools=tools, enable_thinking=enable_thinking)).token_ids
    return {"input_ids": [*prompt_ids, *ids], "labels": [IGNORED] * len(prompt_ids) + labels}


def fine_tune(
    model: Any,
    tokenizer: Any,
    data: Sequence[Mapping[str, list[int]]],
    config: Supervised,
    out: Path,
    *,
    seed: int,
    stage: str,
) -> dict[str, Any] | None:
    """Train ``model`` on ``data`` with TRL, in place; resumes from the last whole checkpoint in ``out``.

    Args:
        model, tokenizer: the student.
        data: rows of ``input_ids`` and ``labels``; a label of :data:`IGNORED` has no loss.
        config: the recipe's section.
        out: the stage's folder.
        seed: decides the order of the rows.
        stage: the section's name, for progress and errors.

    Returns:
        The weights, if they are spread over several processes (:func:`full_state`).

    Raises:
        ConfigurationError: ``config.trainer`` holds values that TRL does not know.
    """
    from datasets import Dataset
    from trl import SFTConfig

    from relay_core.train.supervised_trainer import SupervisedTrainer

    values = trainer_values(config, out, seed=seed, world=processes.world_size(), stage=stage)
    trainer = SupervisedTrainer(
        model=model,
        args=arguments(SFTConfig, stage, values),
        train_dataset=Dataset.from_list([dict(row) for row in data]),
        processing_class=tokenizer,
    )
    with TrainerProgress(stage, logged="loss") as progress:
        progress.attach(trainer)
        trainer.add_callback(stops_at_nan(out))
        with disk_errors(out):
            train(trainer, last_checkpoint(out))
    return full_state(trainer)


def trainer_values(config: Supervised, out: Path, *, seed: int, world: int, stage: str) -> dict[str, Any]:
    """The values of ``trl.SFTConfig`` in a run on ``world`` processes.

    ``trainer.per_device_train_batch_size`` bounds the rows of a pass; by default, all rows of a batch that a process
    has go in one pass.

    Raises:
        ConfigurationError: the processes cannot share a batch evenly.
    """
    per_device = config.trainer.get("per_device_train_batch_size", max(1, config.batch_size // world))
    if "gradient_accumulation_steps" in config.trainer or config.batch_size % (world * per_device):
        raise ConfigurationError(
            f"{stage}.batch_size = {config.batch_size} rows an update, over all processes: it must be a multiple of "
            f"{world} processes times {stage}.trainer.per_device_train_batch_size = {per_device}; "
            "gradient_accumulation_steps follows from these, so leave it out"
        )
    return {
        **common_values(out, seed=seed),
        "max_length": None,
        "packing": False,
        "per_device_train_batch_size": per_device,
        "gradient_accumulation_steps": config.batch_size // (world * per_device),
        **config.trainer,
    }
