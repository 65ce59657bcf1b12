"""What is kept of every rollout: its figures, for people and TensorBoard, and its answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from relay_core.evaluate.store import Journal
from relay_core.train import processes
from relay_core.train.figures import figures
from relay_core.train.rollout import Rollout
from relay_core.train.scoring import GroupReward

if TYPE_CHECKING:
    from relay_core.train.grpo_trainer import Gap


class RolloutLog:
    """Puts together what the rollout, the reward and the trainer know of each answer, from all processes.

    Args:
        rollout, reward: what answered and what scored the rollout.
        journal: one row of figures per rollout; only the main process writes.
        write: keeps the answers of the rollout at a step; only the main process calls it.
        order: the task's groups of problems.
        show: called with the figures, for the progress.
        watch: called with the rollout's answers; it warns of a run that can learn nothing.
        log: called with each figure's name and value, for TRL's logs.
    """

    def __init__(
        self,
        rollout: Rollout,
        reward: GroupReward,
        journal: Journal | None,
        write: Callable[[int, Sequence[Mapping[str, Any]]], Any],
        order: Sequence[str],
        *,
        show: Callable[[Mapping[str, float]], None],
        watch: Callable[[Sequence[Mapping[str, Any]]], None],
    ) -> None:
        self._rollout, self._reward, self._journal, self._write = rollout, reward, journal, write
        self._order, self._show, self._watch = order, show, watch
        self._began = time.monotonic()

    def __call__(self, step: int, gaps: Sequence[Gap], log: Callable[[str, float], None]) -> None:
        """Keep the rollout at ``step``; called in every process, with the gaps of its answers."""
        rank = processes.rank()
        rows = [
            {**answer, **scored, "step": step, "rank": rank, "sampler_gap": gap.max, "sampler_gap_mean": gap.mean}
            for answer, scored, gap in zip(self._rollout.rows, self._reward.rows, gaps, strict=True)
        ]
        everybodys = processes.gather_on_main((rows, self._rollout.seconds))
        if not everybodys:
            return
        rows = [row for part, _ in everybodys for row in part]
        values = figures(rows, self._order, seconds=max(seconds for _, seconds in everybodys))
        self._write(step, rows)
        for name, value in values.items():
            log(f"relay/{name}", value)
        if self._journal is not None:
            self._journal.append({"step": step, "seconds": round(time.monotonic() - self._began, 1), **values})
        self._show(values)
        self._watch(rows)


def line(values: Mapping[str, float]) -> str:
    """The figures of a rollout in one line, for the progress off a terminal."""
    names = [name.removeprefix("accuracy/") for name in values if name.startswith("accuracy/")]
    overall = f"rho {values['call_ratio']:.3f} n {values.get('requested', 0):.1f}"
    if not names:
        return f"{overall} | accuracy {values.get('accuracy', 0):.2f} called {values.get('called', 0):.2f}"
    return " | ".join(
        [overall, *(f"{name} {values[f'accuracy/{name}']:.2f} called {values[f'called/{name}']:.2f}" for name in names)]
    )
