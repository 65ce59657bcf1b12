"""The policy: the live weights, with which rollouts generate and which the trainer updates, never at the same time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol


class LiveEngine(Protocol):
    """The methods of an engine on live weights that the policy uses."""

    def weights_changed(self) -> None:
        """Drop all caches that were computed with the old weights."""

    def paused(self) -> AbstractContextManager[None]:
        """Hold generation while the trainer uses the model."""


class LivePolicy:
    """Hands the live model back and forth between the student's engine and the trainer.

    Args:
        engine: the student's engine; it is paused from the end of one rollout to the start of the next.
    """

    def __init__(self, engine: LiveEngine) -> None:
        self._engine = engine
        self._pause = contextlib.ExitStack()

    @contextlib.contextmanager
    def generating(self, model: Any) -> Iterator[None]:
        """Let the engine generate with the current weights of ``model``, in evaluation mode."""
        self._pause.close()
        training = model.training
        model.eval()
        try:
            self._engine.weights_changed()
            yield
        finally:
            model.train(training)
            self._pause.enter_context(self._engine.paused())

    def release(self) -> None:
        """End the pause after training."""
        self._pause.close()
