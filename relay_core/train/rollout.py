"""Rollouts: answers of the relay on the live weights, in the form that TRL expects.

Pure functions turn transcripts into TRL's rollout dictionary, and :class:`Rollout` is the function that TRL calls. The
ids are those of the transcript, as they were sampled. The mask is 1 on every token that the student sampled, commands
included, and 0 on the teacher's tokens; a call removes no token of the student's turn (docs/method.md, faults 4 and 6).
Apart from the temperature, the settings are those of the recipe, as in measurements (fault 7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from relay_core import portal
from relay_core.events import FinishReason, RelayResult
from relay_core.relay import Relay
from relay_core.train.policy import LivePolicy

TRUNCATED = (FinishReason.LENGTH, FinishReason.DEADLINE)
"""Finish reasons of answers that were cut off; such answers count as wrong, regardless of their text."""


def row(result: RelayResult) -> dict[str, Any]:
    """One answer: TRL's four fields, and the values from which its reward and the figures are computed.

    ``call_ratio`` counts the teacher tokens that were received; ``requested`` holds the tokens requested by each call.
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
    """Many answers as one list per field, in the order of the answers."""
    rows = [row(result) for result in results]
    return {name: [r[name] for r in rows] for name in rows[0]} if rows else {}


class Rollout:
    """TRL's ``rollout_func``: answers every prompt with the relay and returns :func:`columns`.

    Args:
        relay: the live student and its teacher.
        policy: hands the model to the student's engine for the rollout, and back to the trainer.
        overrides: settings of every answer, such as the temperature.
    """

    def __init__(self, relay: Relay, policy: LivePolicy, *, overrides: Mapping[str, Any]) -> None:
        self._relay, self._policy, self._overrides = relay, policy, dict(overrides)

    def __call__(self, prompts: Sequence[Any], trainer: Any) -> dict[str, list[Any]]:
        with self._policy.generating(trainer.model):
            return columns(portal.run(self._answer, list(prompts)))

    async def _answer(self, prompts: list[Any]) -> list[RelayResult]:
        answers: list[RelayResult] = await self._relay.abatch(prompts, **self._overrides)
        return answers
