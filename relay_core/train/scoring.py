"""Scores a rollout: grades each answer, rewards each group of answers independently, and computes the rollout's
figures.

:class:`GroupReward` is the reward function that TRL calls with a rollout's columns. ``rewards.py`` computes the rewards
of one group; TRL turns the rewards into advantages and a loss.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relay_core.errors import ConfigurationError
from relay_core.evaluate.store import Journal
from relay_core.evaluate.task import Problem, Task, in_task_order
from relay_core.train.recipe import Grpo
from relay_core.train.rewards import Outcome, Scenario, difficulty_aware, scenario, simple


def groups(keys: Sequence[Hashable], size: int) -> list[range]:
    """The indices of each group of answers in a rollout: ``size`` neighbouring answers to one problem.

    Args:
        keys: the problem of each answer.
        size: answers per group.

    Raises:
        ConfigurationError: this process has only part of a group, because its batch size does not fit the group size.
    """
    ranges = [range(start, start + size) for start in range(0, len(keys), size)]
    for group in ranges:
        if group.stop > len(keys) or len({keys[i] for i in group}) != 1:
            raise ConfigurationError(
                f"answers {group.start} to {group.stop - 1} of this process are not one whole group of {size}: choose "
                "grpo.prompts so that every process gets whole groups"
            )
    return ranges


@dataclass(frozen=True, slots=True)
class Scored:
    """A rollout's rewards and outcomes, one per answer, and its scenarios, one per group of answers."""

    rewards: list[float]
    outcomes: list[Outcome]
    scenarios: list[Scenario]


def score(outcomes: Sequence[Outcome], keys: Sequence[Hashable], config: Grpo) -> Scored:
    """Compute the rewards of a rollout; no group's rewards depend on another group (docs/method.md, fault 5).

    Args:
        outcomes: the outcome of each answer.
        keys: the problem of each answer.
        config: the reward, its switches, and the group size.
    """
    rewards: list[float] = []
    scenarios: list[Scenario] = []
    for indices in groups(keys, config.group_size):
        group = [outcomes[i] for i in indices]
        scenarios.append(scenario(group))
        if config.reward == "simple":
            rewards += simple(group)
        else:
            rewards += difficulty_aware(
                group, independence_bonus=config.independence_bonus, exploration=config.exploration
            )
    return Scored(rewards, list(outcomes), scenarios)


def figures(
    scored: Scored, problems: Sequence[Problem], columns: Mapping[str, Sequence[Any]], order: Sequence[str]
) -> dict[str, float]:
    """Shares and means over a rollout's answers, for the journal, TensorBoard and the plot.

    The figures ``groups/SCENARIO`` are shares of the groups of answers; ``accuracy/NAME`` and ``called/NAME`` belong to
    the task's group of problems with that name.

    Args:
        scored: the rollout's rewards and outcomes.
        problems: the problem of each answer.
        columns: the rollout's columns; see :func:`relay_core.train.rollout.columns`.
        order: the task's groups of problems, in the order in which reports show them.
    """
    n = len(scored.outcomes)
    requested = [tokens for answer in columns["requested"] for tokens in answer]
    values = {
        "accuracy": sum(o.correct for o in scored.outcomes) / n,
        "call_ratio": sum(columns["teacher_tokens"]) / max(1, sum(columns["tokens"])),
        "called": sum(o.called for o in scored.outcomes) / n,
        "calls": sum(columns["calls"]) / n,
        "malformed": sum(columns["malformed"]) / n,
        "truncated": sum(columns["truncated"]) / n,
        "tokens": sum(columns["tokens"]) / n,
        "reward": sum(scored.rewards) / n,
    }
    if requested:
        values["requested"] = sum(requested) / len(requested)
    for group_scenario in Scenario:
        values[f"groups/{group_scenario}"] = scored.scenarios.count(group_scenario) / len(scored.scenarios)
    by_problem_group: dict[str, list[Outcome]] = defaultdict(list)
    for problem, outcome in zip(problems, scored.outcomes, strict=True):
        by_problem_group[problem.group].append(outcome)
    for name in in_task_order(by_problem_group, order):
        outcomes = by_problem_group[name]
        values[f"accuracy/{name}"] = sum(o.correct for o in outcomes) / len(outcomes)
        values[f"called/{name}"] = sum(o.called for o in outcomes) / len(outcomes)
    return values


class GroupReward:
    """TRL's reward function; it also writes one row of figures per rollout to the journal.

    Args:
        task: grades the answers.
        problems: the training problems; the dataset's column ``problem`` holds indices into them.
        config: the reward, its switches, and the group size.
        journal: gets the figures of every rollout.
        show: called with a line of figures for the progress display.
    """

    __name__ = "reward"

    def __init__(
        self,
        task: Task,
        problems: Sequence[Problem],
        config: Grpo,
        journal: Journal,
        *,
        show: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._task, self._problems, self._config, self._journal, self._show = task, problems, config, journal, show
        self._began = time.monotonic()

    def __call__(
        self,
        *,
        problem: Sequence[int],
        trainer_state: Any = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float]:
        """The reward of each answer; the keyword arguments are the dataset's and the rollout's columns."""
        problems = [self._problems[i] for i in problem]
        outcomes = [
            Outcome(correct=not cut and self._task.grade(text, p), called=called, call_ratio=rho)
            for text, p, cut, called, rho in zip(
                columns["text"], problems, columns["truncated"], columns["called"], columns["call_ratio"], strict=True
            )
        ]
        scored = score(outcomes, problem, self._config)
        values = figures(scored, problems, columns, self._task.groups)
        if log_metric is not None:
            for name, value in values.items():
                log_metric(f"relay/{name}", value)
        step = 0 if trainer_state is None else int(trainer_state.global_step)
        self._journal.append({"step": step, "seconds": round(time.monotonic() - self._began, 1), **values})
        self._show(_line(values))
        return scored.rewards


def _line(values: Mapping[str, float]) -> str:
    names = [name.removeprefix("accuracy/") for name in values if name.startswith("accuracy/")]
    overall = f"rho {values['call_ratio']:.3f} n {values.get('requested', 0):.1f}"
    return " | ".join(
        [overall, *(f"{name} {values[f'accuracy/{name}']:.2f} called {values[f'called/{name}']:.2f}" for name in names)]
    )
