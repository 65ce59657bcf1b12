"""Rollouts: answers of the relay with the policy's current weights, in the form that TRL expects.

The ids are those of the transcript, as they were sampled. The mask is 1 on every token that the student sampled,
commands included, and 0 on the teacher's tokens; a call removes no token of the student's turn (docs/method.md, faults
4 and 6). Apart from the temperature, the settings are those of the recipe, as in measurements (fault 7).

An answer in which a call failed says nothing about calling: it is *dropped*. Its mask is 0 everywhere, and it gets no
reward. If many calls fail, the teacher is gone: the rollout waits for it, and answers those prompts again.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from relay_core import portal
from relay_core.concurrency import map_concurrently
from relay_core.errors import TrainingError
from relay_core.evaluate.seeds import answer_seed
from relay_core.events import TRUNCATED, RelayResult
from relay_core.relay import Relay
from relay_core.train import processes
from relay_core.train.policies.base import Policy

_TOLERATED = 0.1  # the share of answers with a failed call that is dropped without asking again
_PAUSES = (5.0, 15.0, 30.0, 60.0)  # seconds between two attempts; the last one is repeated


def row(result: RelayResult, seed: int | None = None) -> dict[str, Any]:
    """One answer: TRL's four fields, and the values from which its reward, the figures and the records are made.

    ``call_ratio`` counts the teacher tokens that were received; ``requested``, ``received`` and ``call_seconds`` have
    one entry per call. A token without a log-probability, such as a teacher's, has ``None`` (TRL: not a number).
    """
    training, usage = result.transcript.training_row(), result.usage
    dropped = usage.failed_calls > 0
    return {
        "prompt_ids": list(training.prompt_ids),
        "completion_ids": list(training.token_ids),
        "logprobs": list(training.logprobs),
        "env_mask": [0] * len(training.mask) if dropped else list(training.mask),
        "authors": [str(author) for author in training.authors],
        "segments": [{"author": str(s.author), "text": s.text} for s in result.segments],
        "text": result.text,
        "finish_reason": str(result.finish_reason),
        "truncated": result.finish_reason in TRUNCATED,
        "dropped": dropped,
        "called": usage.calls > usage.failed_calls,
        "call_ratio": usage.call_ratio,
        "calls": usage.calls,
        "failed_calls": usage.failed_calls,
        "refused": usage.refused_calls,
        "malformed": usage.malformed_calls,
        "requested": [call.requested for call in result.calls],
        "received": [call.received for call in result.calls],
        "call_seconds": [call.seconds for call in result.calls],
        "tokens": usage.completion_tokens,
        "teacher_tokens": usage.teacher_tokens,
        "cost": result.cost,
        "usage": usage.as_dict(),
        "seed": seed,
        "seconds": result.seconds,
    }


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Many answers as one list per field, in the order of the answers."""
    return {name: [r[name] for r in rows] for name in rows[0]} if rows else {}


class Rollout:
    """TRL's ``rollout_func``: answers every prompt of this process with the relay and returns :func:`columns`.

    Args:
        policy: makes the student's engine ready for the rollout, and hands the model back to the trainer.
        relay: makes the relay on the student's engine, which is there once the trainer is built.
        run_seed: the recipe's seed; with the step and the answer's place in the rollout it decides the answer's seed.
        temperature: the student's temperature.
        max_concurrency: how many answers run at a time.
        patience_s: how long to wait for a teacher that is gone.

    ``rows`` are the answers of the last rollout in this process, and ``seconds`` the time that they took.
    """

    def __init__(
        self,
        policy: Policy,
        relay: Callable[[], Relay],
        *,
        run_seed: int,
        temperature: float,
        max_concurrency: int | None = None,
        patience_s: float = 1800.0,
    ) -> None:
        self._policy, self._make_relay = policy, relay
        self._run_seed, self._temperature = run_seed, temperature
        self._max_concurrency, self._patience_s = max_concurrency, patience_s
        self.rows: list[dict[str, Any]] = []
        self.seconds = 0.0

    @cached_property
    def _relay(self) -> Relay:
        return self._make_relay()

    def __call__(self, prompts: Sequence[Any], trainer: Any) -> dict[str, list[Any]]:
        first, step = processes.rank() * len(prompts), int(trainer.state.global_step)
        seeds = [
            answer_seed(self._run_seed, "grpo", step, json.dumps(prompt), first + i) for i, prompt in enumerate(prompts)
        ]
        with self._policy.generating(trainer):
            began = time.monotonic()
            results = portal.run(self._answer_all, list(prompts), seeds)
            self.seconds = time.monotonic() - began
        self.rows = [row(result, seed) for result, seed in zip(results, seeds, strict=True)]
        return columns(self.rows)

    async def _answer_all(self, prompts: list[Any], seeds: list[int]) -> list[RelayResult]:
        results = await self._answer(prompts, seeds)
        waited, attempt = 0.0, 0
        while len(failed := [i for i, r in enumerate(results) if r.usage.failed_calls]) > _TOLERATED * len(results):
            reason = results[failed[0]].failures[0]
            if waited >= self._patience_s:
                raise TrainingError(
                    f"the teacher failed in {len(failed)} of {len(results)} answers for {waited:.0f} s ({reason}): see "
                    "that it answers, then start the same command again; it resumes at the last checkpoint"
                )
            pause = min(_PAUSES[min(attempt, len(_PAUSES) - 1)], self._patience_s - waited)
            told = f"the teacher failed in {len(failed)} of {len(results)} answers ({reason})"
            print(f"{told}; asking again in {pause:.0f} s", file=sys.stderr)
            await asyncio.sleep(pause)
            waited, attempt = waited + pause, attempt + 1
            again = await self._answer([prompts[i] for i in failed], [seeds[i] for i in failed])
            for i, result in zip(failed, again, strict=True):
                results[i] = result
        return results

    async def _answer(self, prompts: list[Any], seeds: list[int]) -> list[RelayResult]:
        async def answer(i: int) -> RelayResult:
            return await self._relay.agenerate(prompts[i], seed=seeds[i], temperature=self._temperature)

        return await map_concurrently(answer, range(len(prompts)), limit=self._max_concurrency)
