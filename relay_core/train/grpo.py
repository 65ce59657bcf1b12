"""GRPO with TRL: the relay answers with the policy's current weights, and each group of answers is rewarded by itself.

This implements section 3.3 of the paper. ``policies/`` and ``rollout.py`` make the answers, ``scoring.py`` computes the
rewards, and TRL computes advantages and losses with the teacher's tokens masked (``grpo_trainer.py``); this module puts
these parts together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay_core.errors import ConfigurationError
from relay_core.evaluate.store import Journal, read_rows
from relay_core.evaluate.task import Problem, Task
from relay_core.relay import Relay
from relay_core.train import processes
from relay_core.train.checkpoints import disk_errors, last_checkpoint
from relay_core.train.policies.base import Policy
from relay_core.train.policies.choice import policy_for
from relay_core.train.recipe import Recipe
from relay_core.train.records import RolloutFile
from relay_core.train.rollout import Rollout
from relay_core.train.rollout_log import RolloutLog, line
from relay_core.train.scoring import GroupReward
from relay_core.train.sections import Grpo
from relay_core.train.trainer import TrainerProgress, arguments, common_values, full_state, stops_at_nan, train
from relay_core.train.watch import RolloutWatch

if TYPE_CHECKING:
    from relay_core.engines.base import Engine

#: values of GRPOConfig that follow from the recipe's section grpo
_DERIVED = (
    "num_generations",
    "per_device_train_batch_size",
    "steps_per_generation",
    "generation_batch_size",
    "gradient_accumulation_steps",
    "max_steps",
    "temperature",
)


def run(
    model: Any,
    tokenizer: Any,
    teacher: Engine | None,
    task: Task,
    problems: Sequence[Problem],
    recipe: Recipe,
    out: Path,
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Train ``model`` in place; resumes from the last complete checkpoint in ``out``.

    Args:
        model: the warmed-up student, loaded from a folder (TRL loads the reference model from the same folder).
        tokenizer: the student's tokenizer.
        teacher: the teacher's engine; ``None`` with ``grpo.calls: false``.
        task: grades the answers.
        problems: the filtered problems; the answers of one group are answers to one of them.
        recipe: the run's values.
        out: the folder for checkpoints, TensorBoard's files, ``rollouts.jsonl`` and the rollouts' answers.

    Returns:
        The figures of every rollout, including those of earlier, killed runs in ``out``; and the weights, if they are
        spread over several processes (:func:`full_state`).

    Raises:
        ConfigurationError: there are fewer problems than one rollout needs, or TRL does not know a value.
        TrainingError: the loss is not finite, or the teacher did not come back.
    """
    config = recipe.grpo
    _check_groups(problems, config)
    checkpoint = last_checkpoint(out)
    journal = _journal(out, checkpoint)

    policy = policy_for(recipe, tokenizer)
    rollout = Rollout(
        policy,
        lambda: Relay(policy.engine, teacher if config.calls else None, recipe.settings(calls=config.calls)),
        run_seed=recipe.seed,
        temperature=config.temperature,
        max_concurrency=config.max_concurrency,
        patience_s=config.teacher_patience_s,
    )
    reward = GroupReward(task, problems, config)
    with TrainerProgress("grpo", unit=config.updates, every_s=0.0) as progress:
        log = RolloutLog(
            rollout, reward, journal, RolloutFile(out).write, task.groups,
            show=lambda v: progress.show(line(v), v), watch=RolloutWatch(calls=config.calls),
        )  # fmt: skip
        try:
            trainer = _trainer(model, tokenizer, problems, recipe, out, policy, rollout, reward, log)
            progress.attach(trainer)
            trainer.add_callback(stops_at_nan(out))
            policy.attach(trainer)
            policy.engine.warns_without_commands = False  # RolloutWatch warns
            with disk_errors(out):
                train(trainer, checkpoint)
            state = full_state(trainer)
        finally:
            policy.release()
    return read_rows(out / "rollouts.jsonl"), state


def _check_groups(problems: Sequence[Problem], config: Grpo) -> None:
    check_batches(config.prompts, config.updates, processes.world_size())
    if len(problems) < config.prompts:
        raise ConfigurationError(
            f"{len(problems)} problems are fewer than one rollout's {config.prompts}: lower grpo.prompts or "
            "filter.keep, or choose another --out with more filter.problems"
        )


def _journal(out: Path, checkpoint: str | None) -> Journal | None:
    """The figures of the rollouts before the checkpoint, in the main process."""
    if not processes.is_main():
        return None
    journal = Journal(out / "rollouts.jsonl")
    first_step = 0 if checkpoint is None else int(checkpoint.rpartition("-")[2])
    journal.keep(lambda row: row["step"] < first_step)
    return journal


def check_batches(prompts: int, updates: int, world: int) -> None:
    """Raise ConfigurationError unless every process gets whole groups, as many for each update."""
    if prompts % (world * updates):
        raise ConfigurationError(
            f"grpo.prompts = {prompts} groups cannot be shared evenly by {world} processes with grpo.updates = "
            f"{updates}: choose a multiple of {world * updates}"
        )


def trainer_values(recipe: Recipe, out: Path, world: int) -> dict[str, Any]:
    """The values of ``trl.GRPOConfig`` in a run on ``world`` processes.

    Raises:
        ConfigurationError: ``grpo.trainer`` holds a value that follows from other values of the recipe.
    """
    config = recipe.grpo
    if derived := [name for name in _DERIVED if name in config.trainer]:
        raise ConfigurationError(
            f"grpo.trainer.{derived[0]} follows from grpo.prompts, group_size, updates, rollouts and temperature: "
            "leave it out, and bound the tokens of a pass by grpo.tokens_per_forward"
        )
    return {
        **common_values(out, seed=recipe.seed),
        "num_generations": config.group_size,
        "per_device_train_batch_size": config.prompts * config.group_size // config.updates // world,
        "steps_per_generation": config.updates,
        "gradient_accumulation_steps": 1,
        "max_steps": config.rollouts * config.updates,
        "max_completion_length": recipe.settings().max_tokens,
        "temperature": config.temperature,
        "save_steps": config.checkpoint_every * config.updates,
        "logging_steps": config.updates,
        # the paper's loss; TRL's own defaults change the weight of long answers, and the KL term's gradient
        "loss_type": "grpo",
        "use_bias_correction_kl": False,
        **config.trainer,
    }


def _trainer(
    model: Any,
    tokenizer: Any,
    problems: Sequence[Problem],
    recipe: Recipe,
    out: Path,
    policy: Policy,
    rollout: Rollout,
    reward: GroupReward,
    log: RolloutLog,
) -> Any:
    from datasets import Dataset
    from trl import GRPOConfig

    from relay_core.train.grpo_trainer import RelayGRPOTrainer

    values = {**policy.trainer_values, **trainer_values(recipe, out, processes.world_size())}
    data = [{"prompt": [dict(m) for m in p.messages], "problem": i} for i, p in enumerate(problems)]
    args = arguments(GRPOConfig, "grpo", values)
    with policy.building(model, args):
        return RelayGRPOTrainer(
            model=model,
            args=args,
            reward_funcs=[reward],
            train_dataset=Dataset.from_list(data),
            processing_class=tokenizer,
            rollout_func=rollout,
            tokens_per_forward=recipe.grpo.tokens_per_forward,
            on_rollout=log,
        )
