"""How ``relay tune`` searches for the settings of a trigger that reach a call ratio: one search for each kind.

``Bounds`` searches the bound of ``Uncertain`` or ``Hidden``, for each n and gap; ``Biases`` searches the bias of
``Commands``. Each measures settings on one half of the prompts (``calibrate.py``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from relay_core.decoding.triggers import Commands
from relay_core.evaluate.answers import KeptAnswer
from relay_core.evaluate.calibrate import Round, bias_for, calibrate, calibrate_bias
from relay_core.evaluate.doubts import foretell, gap_of, trigger_for
from relay_core.settings import COMMANDS

NEIGHBOURS = (0.5, 2.0)  # the call ratios beside the target that are measured too, as multiples of it


class Search(ABC):
    """One kind of trigger.

    ``records``: whether the sureness of the student's own answers is needed. ``head``: the folder of the head that it
    is recorded by; ``None`` for the student's own probabilities.
    """

    records: bool = False
    head: str | None = None

    @abstractmethod
    def weights(self, alone: Sequence[KeptAnswer], target: float) -> list[float]:
        """For each of the student's own answers, in how many places it invites a call."""

    @abstractmethod
    async def rounds(
        self, alone: Sequence[KeptAnswer], target: float, measure: Callable[[Any], Awaitable[float]]
    ) -> list[list[Round]]:
        """Settings that were measured, for each combination of the other arguments, the nearest one first.

        Args:
            alone: the student's own answers to the prompts that ``measure`` answers.
            target: the call ratio to reach.
            measure: answers the prompts with a trigger; returns the call ratio.
        """

    @abstractmethod
    def beside(self, alone: Sequence[KeptAnswer], chosen: Round, rounds: Sequence[Round]) -> list[Any]:
        """The triggers for half and for twice the call ratio of ``chosen``, one of ``rounds``."""

    @abstractmethod
    def advice(self, rounds: Sequence[Round]) -> str:
        """What to write if none of these settings reaches the target."""


@dataclass(frozen=True)
class Bounds(Search):
    """The bound of ``Uncertain``, or of ``Hidden`` with the head in the folder ``head``, for each n and gap."""

    ns: Sequence[int] = (4, 8, 16)
    gaps: Sequence[int] = (0,)
    head: str | None = None
    records: bool = field(default=True, init=False)

    def weights(self, alone: Sequence[KeptAnswer], target: float) -> list[float]:
        typical = trigger_for([answer.sureness for answer in alone], target, self.ns[0], self.gaps[0], self.head)
        return [foretell([answer.sureness], typical).calls for answer in alone]

    async def rounds(
        self, alone: Sequence[KeptAnswer], target: float, measure: Callable[[Any], Awaitable[float]]
    ) -> list[list[Round]]:
        doubts = [answer.sureness for answer in alone]
        settings = [(n, gap) for n in self.ns for gap in self.gaps]
        return [await calibrate(doubts, target, n=n, gap=gap, head=self.head, measure=measure) for n, gap in settings]

    def beside(self, alone: Sequence[KeptAnswer], chosen: Round, rounds: Sequence[Round]) -> list[Any]:
        doubts, trigger = [answer.sureness for answer in alone], chosen.trigger
        assert not isinstance(trigger, Commands)
        return [
            trigger_for(doubts, (chosen.foretold or 0) * factor, trigger.n, gap_of(trigger), self.head)
            for factor in NEIGHBOURS
        ]

    def advice(self, rounds: Sequence[Round]) -> str:
        return "write another --target-ratio or other values of --n, or take more prompts"


@dataclass(frozen=True)
class Biases(Search):
    """The bias of ``Commands``, for a student that was trained or told to call."""

    commands: Commands = COMMANDS

    def weights(self, alone: Sequence[KeptAnswer], target: float) -> list[float]:
        return [float(answer.usage.refused_calls) for answer in alone]

    async def rounds(
        self, alone: Sequence[KeptAnswer], target: float, measure: Callable[[Any], Awaitable[float]]
    ) -> list[list[Round]]:
        return [await calibrate_bias(self.commands, target, measure=measure)]

    def beside(self, alone: Sequence[KeptAnswer], chosen: Round, rounds: Sequence[Round]) -> list[Any]:
        return [bias_for(self.commands, rounds, chosen.measured * factor) for factor in NEIGHBOURS]

    def advice(self, rounds: Sequence[Round]) -> str:
        if not any(tried.measured for tried in rounds):
            return "a student that was neither trained nor told to call needs --trigger uncertain"
        return (
            "the student is too sure of its calls, or of the others; write another --target-ratio, or take more prompts"
        )
