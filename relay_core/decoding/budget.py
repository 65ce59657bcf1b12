"""The budgets of an answer: all tokens, teacher tokens per call and per answer, calls, and the models' contexts.

``deadline.py`` enforces the limits in seconds. This module also makes the sampling of each request, because its
``max_tokens`` is a budget, and its seed depends on the tokens written before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from functools import partial
from typing import Any

from relay_core.command import CLOSE
from relay_core.decoding.triggers import Halt
from relay_core.engines.base import Engine, Prompt, Sampling, Token
from relay_core.errors import ContextOverflow
from relay_core.settings import RelaySettings
from relay_core.transcript import Author, Transcript

# Two primes, so that a student's request and a teacher's request of one answer almost never have the same seed.
_STUDENT_SEED_STEP, _TEACHER_SEED_STEP = 7919, 104_729
_SEEDS = 2**63  # engines take seeds below this number


class Budget:
    """The budgets of one answer.

    Args:
        settings: the limits.
        transcript: the answer so far.
        calls: the calls made so far. It is the loop's own list, so its length grows with each call.
        has_teacher: whether there is a teacher; without one, every call is refused.
    """

    def __init__(self, settings: RelaySettings, transcript: Transcript, calls: Sized, *, has_teacher: bool) -> None:
        self._settings, self._transcript, self._calls = settings, transcript, calls
        self._has_teacher = has_teacher

    def allowance(self, requested: int | None) -> int:
        """How many teacher tokens a call may have now; 0 refuses the call.

        Args:
            requested: the tokens that the call requests; ``None`` means the most that any call may have now.
        """
        s = self._settings
        if not self._has_teacher or (s.max_calls is not None and len(self._calls) >= s.max_calls):
            return 0
        limits = [s.max_tokens - self._transcript.total]
        if requested is not None:
            limits.append(requested)
        if s.max_call_tokens is not None:
            limits.append(s.max_call_tokens)
        if s.max_teacher_tokens is not None:
            limits.append(s.max_teacher_tokens - self._transcript.count(Author.TEACHER))
        return max(0, min(limits))

    def tokens_left(self, engine: Engine, prompt: Prompt) -> int:
        """How many tokens ``max_tokens`` and the engine's context allow after ``prompt``; may be negative."""
        left = self._settings.max_tokens - self._transcript.total
        if engine.context_length is None or prompt.token_ids is None:
            return left
        return min(left, engine.context_length - len(prompt.token_ids))

    def check_fits(self, engine: Engine, prompt: Prompt) -> None:
        """Raise ContextOverflow if ``prompt`` alone fills the engine's context."""
        if engine.context_length is None or prompt.token_ids is None:
            return
        if len(prompt.token_ids) >= engine.context_length:
            raise ContextOverflow(
                f"the prompt has {len(prompt.token_ids)} tokens, the model's context is {engine.context_length}"
            )


def student_sampling(
    settings: RelaySettings,
    max_tokens: int,
    *,
    written: int,
    may_call: bool,
    top_logprob: bool = False,
    head: str | None = None,
    logit_bias: Mapping[int, float] | None = None,
    halt: Halt | None = None,
    halt_after: int = 0,
    **held_to: Any,
) -> Sampling:
    """The sampling of the student's next request.

    Args:
        max_tokens: the most tokens of this request.
        written: the number of entries in the transcript. The seed depends on this number, because an answer would
            repeat the same random draws if all its requests had the same seed.
        may_call: whether a command can open a call; if so, the engine stops at the closing tag.
        top_logprob: whether the trigger needs the probability of the likeliest token.
        head: the head that the trigger needs.
        logit_bias: the trigger's bias of the tokens that can begin a command.
        halt: the token at which the engine ends the stream for the trigger.
        halt_after: the tokens before that which are written in any case.
        held_to: the constraint of the request (``constrained.py``).
    """
    s = settings
    seed = None if s.seed is None else (s.seed + _STUDENT_SEED_STEP * written) % _SEEDS
    stop = (CLOSE,) if may_call else ()
    if halt is not None and halt_after:
        halt = partial(_halts_later, halt, halt_after)
    held_to |= {"top_logprob": top_logprob, "head": head, "logit_bias": logit_bias, "halt": halt}
    return Sampling(max_tokens, s.temperature, s.top_p, s.top_k, seed, stop, **held_to)


def _halts_later(halt: Halt, after: int, written: int, token: Token) -> bool:
    return written >= after and halt(written, token)


def teacher_sampling(settings: RelaySettings, max_tokens: int, *, call: int, **held_to: Any) -> Sampling:
    """The sampling of the teacher in call number ``call`` (from 0), also for a request that is begun early.

    ``held_to`` is the constraint of the request (``constrained.py``).
    """
    s = settings
    seed = None if s.seed is None else (s.seed + _TEACHER_SEED_STEP * (call + 1)) % _SEEDS
    return Sampling(max_tokens, seed=seed, **s.teacher_sampling, **held_to)
