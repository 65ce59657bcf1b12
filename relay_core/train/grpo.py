"""GRPO with TRL: rollouts are the relay on the live weights, the reward is per group (paper, section 3.3).

Scored here, trained there: `GroupReward` turns what a rollout said into rewards, one whole group at a time, and
writes a row of figures for each rollout; TRL makes advantages and losses of them, with the teacher's tokens masked.

Deviations from the paper, each by what a model of 0.1 M parameters on a CPU needs: the learning rate, fewer prompts
a rollout, fewer updates a rollout, a greedy teacher.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay_core import portal
from relay_core.errors import ConfigurationError
from relay_core.evaluate.measure import Problem
from relay_core.relay import Relay
from relay_core.train import models
from relay_core.train.recipe import Grpo, Recipe
from relay_core.train.rewards import Outcome, Scenario, difficulty_aware, scenario, simple
from relay_core.train.rollout import LiveEngine, Rollout
from relay_core.train.store import Journal
from relay_core.train.trainer import Following, arguments, last_checkpoint, plain

if TYPE_CHECKING:
    from relay_core.engines.base import Engine


def groups(ids: Sequence[str], size: int) -> list[range]:
    """Where each group lies in a rollout: ``size`` neighbours with one problem's id.

    Raises:
        ConfigurationError: a group is not whole here (processes times batch size do not fit the group size).
    """
    found = [range(start, start + size) for start in range(0, len(ids), size)]
    for g in found:
        if g.stop > len(ids) or len({ids[i] for i in g}) != 1:
            raise ConfigurationError(
                f"answers {g.start} to {g.stop - 1} of this process are not one whole group of {size}: choose "
                "grpo.prompts so that every process gets whole groups"
            )
    return found


@dataclass(frozen=True, slots=True)
class Scored:
    """One rollout, answer by answer: rewards, outcomes, and each group's scenario."""

    rewards: list[float]
    outcomes: list[Outcome]
    scenarios: list[Scenario]


def score(outcomes: Sequence[Outcome], ids: Sequence[str], config: Grpo) -> Scored:
    """Rewards of a rollout; each group's flags are its own (fault 5 was flags over the batch)."""
    rewards: list[float] = []
    scenarios: list[Scenario] = []
    for g in groups(ids, config.group_size):
        group = [outcomes[i] for i in g]
        scenarios.append(scenario(group))
        if config.reward == "simple":
            rewards += simple(group)
        else:
            rewards += difficulty_aware(
                group, independence_bonus=config.independence_bonus, exploration=config.exploration
            )
    return Scored(rewards, list(outcomes), scenarios)


def figures(scored: Scored, bands: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> dict[str, float]:
    """What is plotted of a rollout: shares and means over its answers."""
    n = len(scored.outcomes)
    asked = [k for requested in columns["requested"] for k in requested]
    out = {
        "accuracy": sum(o.correct for o in scored.outcomes) / n,
        "call_ratio": sum(columns["teacher_tokens"]) / max(1, sum(columns["tokens"])),
        "called": sum(o.called for o in scored.outcomes) / n,
        "calls": sum(columns["calls"]) / n,
        "malformed": sum(columns["malformed"]) / n,
        "truncated": sum(columns["truncated"]) / n,
        "tokens": sum(columns["tokens"]) / n,
        "reward": sum(scored.rewards) / n,
    }
    if asked:
        out["requested"] = sum(asked) / len(asked)
    for which in Scenario:
        out[f"groups/{which}"] = scored.scenarios.count(which) / len(scored.scenarios)
    by_band: dict[str, list[Outcome]] = defaultdict(list)
    for band, outcome in zip(bands, scored.outcomes, strict=True):
        by_band[band].append(outcome)
    for band, some in sorted(by_band.items()):
        out[f"accuracy/{band}"] = sum(o.correct for o in some) / len(some)
        out[f"called/{band}"] = sum(o.called for o in some) / len(some)
    return out


class GroupReward:
    """TRL's reward function over the rollout's columns; writes a row of figures for each rollout."""

    __name__ = "reward"

    def __init__(
        self,
        config: Grpo,
        grade: Callable[[str, Any], bool],
        journal: Journal,
        *,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._config, self._grade, self._journal, self._say = config, grade, journal, say
        self._began = time.monotonic()

    def __call__(
        self,
        *,
        problem: Sequence[str],
        band: Sequence[str],
        answer: Sequence[Any],
        trainer_state: Any = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float]:
        outcomes = [
            Outcome(correct=not cut and self._grade(text, right), called=called, call_ratio=rho)
            for text, right, cut, called, rho in zip(
                columns["text"], answer, columns["truncated"], columns["called"], columns["call_ratio"], strict=True
            )
        ]
        scored = score(outcomes, problem, self._config)
        row = figures(scored, band, columns)
        if log_metric is not None:
            for name, value in row.items():
                log_metric(f"relay/{name}", value)
        step = 0 if trainer_state is None else int(trainer_state.global_step)
        self._journal.append({"step": step, "seconds": round(time.monotonic() - self._began, 1), **row})
        self._say(_line(row))
        return scored.rewards


class LiveRollout(Rollout):
    """A rollout between whose calls the student's engine rests, so that the trainer can have the model."""

    def __init__(
        self, relay: Relay, engine: LiveEngine, *, overrides: Mapping[str, Any], limit: int | None = None
    ) -> None:
        super().__init__(relay, engine, overrides=overrides, limit=limit)
        self._resting = contextlib.ExitStack()

    def __call__(self, prompts: Sequence[Any], trainer: Any) -> dict[str, list[Any]]:
        self._resting.close()  # leaving the pause drops what was computed with the old weights
        try:
            return super().__call__(prompts, trainer)
        finally:
            self._resting.enter_context(self._engine.paused())

    def close(self) -> None:
        """Let the engine go on."""
        self._resting.close()


def run(
    model: Any,
    tokenizer: Any,
    teacher: Engine | None,
    problems: Sequence[Problem],
    recipe: Recipe,
    out: Path,
    *,
    key: Callable[[Any], str],
    grade: Callable[[str, Any], bool],
) -> list[dict[str, Any]]:
    """Train ``model`` in place; returns the figures of every rollout, which also lie in ``out/rollouts.jsonl``.

    Goes on from the last whole checkpoint in ``out``.

    Args:
        model: the warmed-up student, loaded from a folder (the reference model is loaded from there again).
        teacher: its engine; ``None`` with ``grpo.calls: false``.
        problems: filtered; each group is one of them.

    Raises:
        ConfigurationError: fewer problems than a rollout takes, or values that TRL does not know.
    """
    config = recipe.grpo
    if len(problems) < config.prompts:
        raise ConfigurationError(
            f"{len(problems)} problems are fewer than one rollout's {config.prompts}: raise filter.problems or lower "
            "grpo.prompts"
        )
    journal = Journal(out / "rollouts.jsonl")
    checkpoint = last_checkpoint(out)
    first = 0 if checkpoint is None else int(checkpoint.rpartition("-")[2])
    journal.keep(lambda row: row["step"] < first)

    engine = models.engine_on(model, tokenizer, "student")
    relay = Relay(engine, teacher if config.calls else None, recipe.settings(calls=config.calls))
    rollout = LiveRollout(relay, engine, overrides={"temperature": config.temperature})
    following = Following("grpo", unit=config.updates, every_s=0.0)
    reward = GroupReward(config, grade, journal, say=following.say)
    trainer = _trainer(model, tokenizer, problems, recipe, out, rollout, reward, key)
    following.attach(trainer)
    try:
        with following:
            trainer.train(resume_from_checkpoint=checkpoint)
    finally:
        rollout.close()
        portal.run(engine.aclose)
    return journal.rows


def _line(f: Mapping[str, float]) -> str:
    bands = [name.removeprefix("accuracy/") for name in f if name.startswith("accuracy/")]
    parts = [f"{b} {f[f'accuracy/{b}']:.2f} called {f[f'called/{b}']:.2f}" for b in bands]
    return f"rho {f['call_ratio']:.3f} n {f.get('requested', 0):.1f} | " + " | ".join(parts)


def _trainer(
    model: Any,
    tokenizer: Any,
    problems: Sequence[Problem],
    recipe: Recipe,
    out: Path,
    rollout: Rollout,
    reward: GroupReward,
    key: Callable[[Any], str],
) -> Any:
    from datasets import Dataset
    from trl import GRPOConfig

    from relay_core.train.unpadded import TrimmedGRPOTrainer

    config = recipe.grpo
    answers = config.prompts * config.group_size
    values = {
        **plain(out, seed=recipe.seed),
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
    data = [{"prompt": [dict(m) for m in p.messages], "problem": key(p), "band": p.band, "answer": p.answer}
            for p in problems]  # fmt: skip
    return TrimmedGRPOTrainer(
        model=model,
        args=arguments(GRPOConfig, "grpo", values),
        reward_funcs=[reward],
        train_dataset=Dataset.from_list(data),
        processing_class=tokenizer,
        rollout_func=rollout,
    )
