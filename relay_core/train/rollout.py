"""Rollouts: answers of the relay itself, on the live weights, as the trainer wants them.

Pure functions from transcripts to TRL's rollout dictionary, and the function that TRL calls. Token in, token out:
ids come from the transcript as they were sampled. The mask is 1 on every token that the student sampled, its
commands included, and 0 on the teacher's; nothing of the student's turn is taken back when it calls. The settings
are the recipe's, the same as in measurement, apart from the temperature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from relay_core import portal
from relay_core.events import FinishReason, RelayResult
from relay_core.relay import Relay

TRUNCATED = (FinishReason.LENGTH, FinishReason.DEADLINE)
"""Ends that are no end: such an answer is wrong, whatever it holds."""


def row(result: RelayResult) -> dict[str, Any]:
    """One answer: TRL's four fields, and what the reward needs to know.

    ``call_ratio`` counts the teacher tokens that came; ``requested`` is what the commands asked for.
    """
    training = result.transcript.training_row()
    return {
        "prompt_ids": list(training.prompt_ids),
        "completion_ids": list(training.token_ids),
        "logprobs": list(training.logprobs),
        "env_mask": list(training.mask),
        "text": result.text,
        "truncated": result.finish_reason in TRUNCATED,
        "called": result.usage.calls > 0,
        "call_ratio": result.usage.call_ratio,
        "calls": result.usage.calls,
        "requested": [call.requested for call in result.calls],
        "tokens": result.usage.completion_tokens,
        "teacher_tokens": result.usage.teacher_tokens,
        "malformed": result.usage.malformed_calls,
    }


def columns(results: Sequence[RelayResult]) -> dict[str, list[Any]]:
    """Many answers, field by field, in order."""
    rows = [row(result) for result in results]
    return {name: [r[name] for r in rows] for name in rows[0]} if rows else {}


class LiveEngine(Protocol):
    """What a rollout asks of the student's engine beyond generating."""

    def weights_changed(self) -> None:
        """Forget what was computed with the old weights."""

    def paused(self) -> AbstractContextManager[None]:
        """Hold generation, so that the trainer can have the model."""


class Rollout:
    """TRL's ``rollout_func``: answers every prompt with the relay and returns :func:`columns`.

    Args:
        relay: the live student and its teacher.
        engine: the student's engine, told before each rollout that its weights are new.
        overrides: settings of every answer, such as the temperature.
        limit: answers at a time.
    """

    def __init__(
        self, relay: Relay, engine: LiveEngine, *, overrides: Mapping[str, Any], limit: int | None = None
    ) -> None:
        self._relay, self._engine = relay, engine
        self._overrides, self._limit = dict(overrides), limit

    def __call__(self, prompts: Sequence[Any], trainer: Any) -> dict[str, list[Any]]:
        model = trainer.model
        training = model.training
        model.eval()
        try:
            self._engine.weights_changed()
            answers = portal.run(self._answer, list(prompts))
        finally:
            model.train(training)
        return columns(answers)

    async def _answer(self, prompts: list[Any]) -> list[RelayResult]:
        answers: list[RelayResult] = await self._relay.abatch(prompts, max_concurrency=self._limit, **self._overrides)
        return answers
