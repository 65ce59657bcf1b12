"""The protocol of a policy: it lends the student's weights to an engine for a rollout, and back to the trainer.

The order of calls: ``with building(model, args)`` around the construction of TRL's trainer, ``attach`` once, then
``with generating`` for each rollout, and ``release`` at the end, also after an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from relay_core.engines.base import Engine


class Policy(Protocol):
    """Where the student decodes during rollouts.

    ``trainer_values``: the values of ``trl.GRPOConfig`` that the policy needs; a recipe's ``grpo.trainer`` may replace
    those that ``choice.py`` does not reserve.
    """

    @property
    def trainer_values(self) -> Mapping[str, Any]: ...

    @property
    def engine(self) -> Engine:
        """The student's engine, from :meth:`attach` on. It answers only inside :meth:`generating`."""

    def building(self, model: Any, args: Any) -> AbstractContextManager[None]:
        """A context in which TRL's trainer for ``model`` is built, with ``args`` as its ``GRPOConfig``.

        Raises:
            ConfigurationError: the policy cannot be used in this process or on these devices.
        """

    def attach(self, trainer: Any) -> None:
        """Take TRL's trainer, once, when it is built.

        Raises:
            ConfigurationError: the policy cannot be used with this trainer, such as with sharded weights.
        """

    def generating(self, trainer: Any) -> AbstractContextManager[None]:
        """A context for one rollout: inside, the engine answers with the trainer's present weights; after it, the
        trainer has the model and its memory. TRL's ``rollout_func`` is called after TRL has sent the weights to vLLM.
        """

    def release(self) -> None:
        """Close what the policy has opened. May be called at any time, and repeatedly."""
