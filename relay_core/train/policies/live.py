"""The policy ``live``: the student's engine decodes with the very weights that the trainer updates, in this process.

It needs no copy of the weights and no transfer, and its log-probabilities are the trainer's: for one process, or for
several that each hold the whole model (DDP).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from relay_core import portal
from relay_core.engines.base import Engine
from relay_core.train import models


class LivePolicy:
    """Hands the live model back and forth between the student's engine and the trainer.

    Args:
        model: the student.
        tokenizer: its tokenizer.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._engine: Any = models.engine_on(model, tokenizer, "student")
        self._pause = contextlib.ExitStack()  # from the end of one rollout to the start of the next

    @property
    def trainer_values(self) -> Mapping[str, Any]:
        return {}

    def attach(self, trainer: Any) -> None:
        """Nothing is needed: the engine has the model already."""

    @property
    def engine(self) -> Engine:
        engine: Engine = self._engine
        return engine

    @contextlib.contextmanager
    def generating(self, trainer: Any) -> Iterator[None]:
        """Let the engine generate with the current weights, in evaluation mode."""
        self._pause.close()
        training = trainer.model.training
        trainer.model.eval()
        try:
            self._engine.weights_changed()
            yield
        finally:
            trainer.model.train(training)
            self._pause.enter_context(self._engine.paused())

    def release(self) -> None:
        """End the pause, and close the engine."""
        self._pause.close()
        portal.run(self._engine.aclose)
