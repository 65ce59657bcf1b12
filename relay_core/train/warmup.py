"""Warm-up: the student learns only the syntax of the command (paper, section 3.2).

The training data is the student's own samples (``sampling.py``) with commands inserted at random places; the loss is
cross-entropy on the answer. The samples are drawn at temperature 1, without top_p and top_k. Apart from the commands,
the data therefore follows the student's own distribution, and training changes only the use of commands. The ids of a
sample are used as they were sampled; its text is never encoded again.

The bundled recipe deviates from the paper in a smaller n, because its answers have about a hundred tokens.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from relay_core import command
from relay_core.errors import ConfigurationError
from relay_core.train import processes
from relay_core.train.checkpoints import disk_errors, last_checkpoint
from relay_core.train.recipe import Warmup
from relay_core.train.sampling import Sample
from relay_core.train.trainer import TrainerProgress, arguments, common_values, full_state, stops_at_nan, train

IGNORED = -100
"""The label of a token without loss."""


def draw_n(rng: random.Random, powers: Sequence[int]) -> int:
    """A digit from 1 to 9 times 10 to one of ``powers``."""
    return int(rng.randint(1, 9) * 10 ** rng.choice(list(powers)))


def with_commands(
    token_ids: Sequence[int],
    rng: random.Random,
    encode: Callable[[str], list[int]],
    *,
    max_commands: int = 3,
    powers: Sequence[int] = (0, 1),
) -> list[int]:
    """``token_ids`` with 0 to ``max_commands`` commands inserted before random tokens.

    Every token stays, in order. No command comes after the last token, which is the end token.
    """
    places = sorted(rng.sample(range(len(token_ids)), min(rng.randint(0, max_commands), len(token_ids))))
    ids: list[int] = []
    for i, token_id in enumerate(token_ids):
        if i in places:
            ids += encode(command.write(draw_n(rng, powers)))
        ids.append(token_id)
    return ids


def rows(
    samples: Sequence[Sample], encode: Callable[[str], list[int]], config: Warmup, *, seed: int
) -> list[dict[str, list[int]]]:
    """Training rows with ``input_ids`` and ``labels``; the labels of the prompt are :data:`IGNORED`.

    Each sample yields ``config.draws`` rows, each with other random commands.
    """
    rng = random.Random(f"relay-train/warmup/{seed}")
    data = []
    for _ in range(config.draws):
        for sample in samples:
            ids = with_commands(sample.token_ids, rng, encode, max_commands=config.max_commands, powers=config.powers)
            labels = [IGNORED] * len(sample.prompt_ids) + ids
            data.append({"input_ids": [*sample.prompt_ids, *ids], "labels": labels})
    return data


def fine_tune(
    model: Any, tokenizer: Any, data: Sequence[Mapping[str, list[int]]], config: Warmup, out: Path, *, seed: int
) -> dict[str, Any] | None:
    """Train ``model`` on ``data`` with TRL, in place; resumes from the last whole checkpoint in ``out``.

    Returns:
        The weights, if they are spread over several processes (:func:`full_state`).

    Raises:
        ConfigurationError: ``config.trainer`` holds values that TRL does not know.
    """
    from datasets import Dataset
    from trl import SFTConfig

    from relay_core.train.warmup_trainer import WarmupTrainer

    args = arguments(SFTConfig, "warmup", trainer_values(config, out, seed=seed, world=processes.world_size()))
    trainer = WarmupTrainer(
        model=model,
        args=args,
        train_dataset=Dataset.from_list([dict(row) for row in data]),
        processing_class=tokenizer,
    )
    with TrainerProgress("warmup", logged="loss") as progress:
        progress.attach(trainer)
        trainer.add_callback(stops_at_nan(out))
        with disk_errors(out):
            train(trainer, last_checkpoint(out))
    return full_state(trainer)


def trainer_values(config: Warmup, out: Path, *, seed: int, world: int) -> dict[str, Any]:
    """The values of ``trl.SFTConfig`` in a run on ``world`` processes.

    ``warmup.trainer.per_device_train_batch_size`` bounds the rows of a pass; by default, all rows of a batch that a
    process has go in one pass.

    Raises:
        ConfigurationError: the processes cannot share a batch evenly.
    """
    per_device = config.trainer.get("per_device_train_batch_size", max(1, config.batch_size // world))
    if "gradient_accumulation_steps" in config.trainer or config.batch_size % (world * per_device):
        raise ConfigurationError(
            f"warmup.batch_size = {config.batch_size} rows an update, over all processes: it must be a multiple of "
            f"{world} processes times warmup.trainer.per_device_train_batch_size = {per_device}; gradient_accumulation_"
            "steps follows from these, so leave it out"
        )
    return {
        **common_values(out, seed=seed),
        "max_length": None,
        "packing": False,
        "per_device_train_batch_size": per_device,
        "gradient_accumulation_steps": config.batch_size // (world * per_device),
        **config.trainer,
    }
