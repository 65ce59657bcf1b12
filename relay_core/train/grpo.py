"""GRPO with TRL: the relay answers with the live weights, and each group of answers is rewarded independently.

This implements section 3.3 of the paper. ``policy.py`` and ``rollout.py`` make the answers, ``scoring.py`` computes the
rewards, and TRL computes advantages and losses with the teacher's tokens masked; this module puts these parts together.

The bundled recipe deviates from the paper in the learning rate, fewer prompts per rollout and a greedy teacher, because
it trains a model of 0.17 M parameters on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay_core import portal
from relay_core.errors import ConfigurationError
from relay_core.evaluate.store import Journal
from relay_core.evaluate.task import Problem, Task
from relay_core.relay import Relay
from relay_core.train import models
from relay_core.train.policy import LivePolicy
from relay_core.train.recipe import Recipe
from relay_core.train.rollout import Rollout
from relay_core.train.scoring import GroupReward
from relay_core.train.trainer import TrainerProgress, arguments, common_values, last_checkpoint

if TYPE_CHECKING:
    from relay_core.engines.base import Engine


def run(
    model: Any,
    tokenizer: Any,
    teacher: Engine | None,
    task: Task,
    problems: Sequence[Problem],
    recipe: Recipe,
    out: Path,
) -> list[dict[str, Any]]:
    """Train ``model`` in place; resumes from the last complete checkpoint in ``out``.

    Args:
        model: the warmed-up student, loaded from a folder (TRL loads the reference model from the same folder).
        tokenizer: the student's tokenizer.
        teacher: the teacher's engine; ``None`` with ``grpo.calls: false``.
        task: grades the answers.
        problems: the filtered problems; the answers of one group are answers to one of them.
        recipe: the run's values.
        out: the folder for checkpoints, TensorBoard's files and ``rollouts.jsonl``.

    Returns:
        The figures of every rollout, including those of earlier, killed runs in ``out``.

    Raises:
        ConfigurationError: there are fewer problems than one rollout needs, or TRL does not know a value.
    """
    config = recipe.grpo
    if len(problems) < config.prompts:
        raise ConfigurationError(
            f"{len(problems)} problems are fewer than one rollout's {config.prompts}: raise filter.problems or lower "
            "grpo.prompts"
        )
    journal = Journal(out / "rollouts.jsonl")
    checkpoint = last_checkpoint(out)
    first_step = 0 if checkpoint is None else int(checkpoint.rpartition("-")[2])
    journal.keep(lambda row: row["step"] < first_step)

    engine = models.engine_on(model, tokenizer, "student")
    relay = Relay(engine, teacher if config.calls else None, recipe.settings(calls=config.calls))
    policy = LivePolicy(engine)
    rollout = Rollout(relay, policy, overrides={"temperature": config.temperature})
    with TrainerProgress("grpo", unit=config.updates, every_s=0.0) as progress:
        reward = GroupReward(task, problems, config, journal, show=progress.show)
        trainer = _trainer(model, tokenizer, problems, recipe, out, rollout, reward)
        progress.attach(trainer)
        try:
            trainer.train(resume_from_checkpoint=checkpoint)
        finally:
            policy.release()
            portal.run(engine.aclose)
    return journal.rows


def _trainer(
    model: Any,
    tokenizer: Any,
    problems: Sequence[Problem],
    recipe: Recipe,
    out: Path,
    rollout: Rollout,
    reward: GroupReward,
) -> Any:
    from datasets import Dataset
    from trl import GRPOConfig

    from relay_core.train.unpadded import TrimmedGRPOTrainer

    config = recipe.grpo
    answers = config.prompts * config.group_size
    values = {
        **common_values(out, seed=recipe.seed),
        "num_generations": config.group_size,
        "per_device_train_batch_size": answers // config.updates,
        "steps_per_generation": config.updates,
        "gradient_accumulation_steps": 1,
        "max_steps": config.rollouts * config.updates,
        "max_completion_length": recipe.settings().max_tokens,
        "temperature": config.temperature,
        "save_steps": config.checkpoint_every * config.updates,
        "logging_steps": config.updates,
        **config.trainer,
    }
    data = [{"prompt": [dict(m) for m in p.messages], "problem": i} for i, p in enumerate(problems)]
    return TrimmedGRPOTrainer(
        model=model,
        args=arguments(GRPOConfig, "grpo", values),
        reward_funcs=[reward],
        train_dataset=Dataset.from_list(data),
        processing_class=tokenizer,
        rollout_func=rollout,
    )
