"""Scores a rollout: grades each answer, and rewards each group of answers independently.

:class:`GroupReward` is the reward function that TRL calls with a rollout's columns. Groups are put together from all
processes before they are scored. ``rewards.py`` computes the rewards of one group; TRL turns the rewards into
advantages and a loss.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from relay_core import command
from relay_core.errors import ConfigurationError
from relay_core.evaluate.task import Problem, Task, graded
from relay_core.train import processes
from relay_core.train.rewards import Outcome, Scenario, bill, difficulty_aware, scenario, simple
from relay_core.train.sections import Grpo


def groups(keys: Sequence[Hashable], size: int) -> list[range]:
    """The indices of each group of answers in a rollout: ``size`` neighbouring answers to one problem.

    Args:
        keys: the problem of each answer.
        size: answers per group.

    Raises:
        ConfigurationError: the answers are not whole groups.
    """
    ranges = [range(start, start + size) for start in range(0, len(keys), size)]
    for group in ranges:
        if group.stop > len(keys) or len({keys[i] for i in group}) != 1:
            raise ConfigurationError(
                f"answers {group.start} to {group.stop - 1} of this rollout are not one whole group of {size}: choose "
                "grpo.prompts so that it is a multiple of the processes times grpo.updates"
            )
    return ranges


@dataclass(frozen=True, slots=True)
class Scored:
    """The reward of each answer and the scenario of its group; ``None`` for an answer without an outcome."""

    rewards: list[float | None]
    scenarios: list[Scenario | None]


def score(outcomes: Sequence[Outcome | None], keys: Sequence[Hashable], config: Grpo) -> Scored:
    """Compute the rewards of a rollout; no group's rewards depend on another group (docs/method.md, fault 5).

    Args:
        outcomes: the outcome of each answer; ``None`` for an answer in which a call failed, or which could not be
            graded: it takes no part.
        keys: the problem of each answer.
        config: the reward, its switches, and the group size.
    """
    rewards: list[float | None] = [None] * len(outcomes)
    scenarios: list[Scenario | None] = [None] * len(outcomes)
    for indices in groups(keys, config.group_size):
        group = {i: outcome for i in indices if (outcome := outcomes[i]) is not None}
        if not group:
            continue
        group_scenario = scenario(list(group.values()))
        for (i, outcome), reward in zip(group.items(), _rewards(list(group.values()), config), strict=True):
            rewards[i], scenarios[i] = reward - config.broken_penalty * outcome.broken, group_scenario
    return Scored(rewards, scenarios)


def _rewards(group: list[Outcome], config: Grpo) -> list[float]:
    if config.reward == "simple":
        return simple(group)
    if config.reward == "bill":
        return bill(group)
    return difficulty_aware(group, independence_bonus=config.independence_bonus, exploration=config.exploration)


class GroupReward:
    """TRL's reward function.

    Args:
        task: grades the answers.
        problems: the training problems; the dataset's column ``problem`` holds indices into them.
        config: the reward, its switches, and the group size.

    ``rows`` are this process's answers of the last rollout as they were scored: ``problem`` (its id), ``group`` (the
    task's group), ``k``, ``correct``, ``dropped``, ``ungraded`` (dropped because it could not be graded), ``reward``
    and ``scenario``.
    """

    __name__ = "reward"

    def __init__(self, task: Task, problems: Sequence[Problem], config: Grpo) -> None:
        self._task, self._problems, self._config = task, problems, config
        self.rows: list[dict[str, Any]] = []

    def __call__(self, *, problem: Sequence[int], **columns: Any) -> list[float | None]:
        """The reward of each answer; the keyword arguments are the dataset's and the rollout's columns."""
        mine = [self._outcome(i, {name: columns[name][at] for name in _READ}) for at, i in enumerate(problem)]
        everybodys = processes.gather(list(zip(problem, mine, strict=True)))
        keys = [i for part in everybodys for i, _ in part]
        scored = score([outcome for part in everybodys for _, outcome in part], keys, self._config)
        first = sum(len(part) for part in everybodys[: processes.rank()])
        self.rows = [
            {
                "problem": self._problems[i].id,
                "group": self._problems[i].group,
                "k": (first + at) % self._config.group_size,
                "correct": None if outcome is None else outcome.correct,
                "dropped": outcome is None,
                "ungraded": outcome is None and not columns["dropped"][at],
                "reward": scored.rewards[first + at],
                "scenario": None if (s := scored.scenarios[first + at]) is None else str(s),
            }
            for at, (i, outcome) in enumerate(zip(problem, mine, strict=True))
        ]
        return scored.rewards[first : first + len(mine)]

    def _outcome(self, i: int, answer: dict[str, Any]) -> Outcome | None:
        if answer["dropped"]:
            return None
        correct = False if answer["truncated"] else graded(self._task, answer["text"], self._problems[i])
        if correct is None:
            return None
        cost = (answer["cost"] or 0.0) / self._config.bill_scale
        broken = answer["malformed"] > 0 or command.OPEN in answer["text"] or command.CLOSE in answer["text"]
        return Outcome(
            correct=correct, called=answer["called"], call_ratio=answer["call_ratio"], bill=cost, broken=broken
        )


_READ = ("text", "truncated", "dropped", "called", "call_ratio", "cost", "malformed")
