"""What a policy offers to the GRPO stage: an engine that answers with the trainer's current weights."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from relay_core.engines.base import Engine


class Policy(Protocol):
    """The student during rollouts; generation and training never run at the same time."""

    @property
    def trainer_values(self) -> Mapping[str, Any]:
        """Values of ``trl.GRPOConfig`` that the policy needs."""

    def attach(self, trainer: Any) -> None:
        """Take what the policy needs from TRL's trainer; called once, when the trainer is built."""

    @property
    def engine(self) -> Engine:
        """The student's engine; it is there once the policy is attached."""

    def generating(self, trainer: Any) -> AbstractContextManager[None]:
        """In this context, the engine answers with the current weights; after it, the trainer has the model."""

    def release(self) -> None:
        """Close what the policy opened, after training."""
