"""Times one answer of ``serving.py``: of a model alone, of the relay, and of the lock-step loop."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from benchmarks.lockstep import Lockstep, LockstepAnswer
from benchmarks.serving_figures import Handover, TimedAnswer
from benchmarks.serving_pairs import Question
from relay_core import Author, CallEnded, CallStarted, Finished, Relay, RelayError, TextDelta
from relay_core.chat import Conversation, render
from relay_core.engines.base import Engine, Prompt, Sampling
from relay_core.keys import Role


async def time_alone(engine: Engine, role: Role, question: Question) -> TimedAnswer:
    """One model writes the answer by itself, straight from its engine; its tokens are counted for ``role``."""
    assert engine.tokenizer is not None
    rendered = render(engine.tokenizer, Conversation.of(list(question.messages)))
    prompt = Prompt(rendered.text, rendered.token_ids, question.messages)
    began, first_s, last_s, tokens = time.perf_counter(), 0.0, 0.0, 0
    texts: list[str] = []
    async with aclosing(engine.stream(prompt, Sampling(question.max_tokens))) as chunks:
        async for chunk in chunks:
            if chunk.tokens:
                last_s = time.perf_counter() - began
                first_s = first_s or last_s
            tokens += len(chunk.tokens) + (chunk.end_token is not None)
            texts += [token.text for token in chunk.tokens]
    return TimedAnswer(
        text="".join(texts),
        student_tokens=tokens if role == "student" else 0,
        teacher_tokens=tokens if role == "teacher" else 0,
        first_s=first_s,
        seconds=time.perf_counter() - began,
        step_s=(last_s - first_s) / (tokens - 1) if tokens > 1 else None,
    )


async def time_relay(relay: Relay, question: Question, **overrides: Any) -> TimedAnswer:
    """The relay writes the answer.

    Raises:
        RelayError: also if a call failed, since the answer's times then mean nothing.
    """
    answer, began = TimedAnswer(), time.perf_counter()
    called_at: float | None = None
    teacher_times: list[float] = []
    received = 0
    events = relay.astream(list(question.messages), max_tokens=question.max_tokens, **overrides)
    async with aclosing(events):
        async for event in events:
            now = time.perf_counter()
            if isinstance(event, CallStarted):
                called_at, teacher_times = now, []
            elif isinstance(event, CallEnded):
                if event.error is not None:
                    raise RelayError(f"a call failed: {event.error}")
                received = event.received
                if len(teacher_times) > 1:
                    answer.teacher_steps_s.append((teacher_times[-1] - teacher_times[0]) / (received - 1))
            elif isinstance(event, TextDelta):
                answer.first_s = answer.first_s or now - began
                if event.author is Author.TEACHER:
                    teacher_times.append(now)
                elif called_at is not None:
                    answer.handovers.append(Handover(now - called_at, received))
                    called_at = None
            elif isinstance(event, Finished):
                usage = event.result.usage
                answer.text = event.result.text
                answer.student_tokens = usage.student_tokens + usage.command_tokens
                answer.teacher_tokens = usage.teacher_tokens
    answer.seconds = time.perf_counter() - began
    return answer


async def time_lockstep(loop: Lockstep, questions: Sequence[Question]) -> list[TimedAnswer]:
    """The lock-step loop writes the answers to all questions as one batch."""
    batch = [LockstepAnswer(question.messages, question.max_tokens) for question in questions]
    await loop.complete_batch(batch)
    return [
        TimedAnswer(
            text=answer.text,
            student_tokens=answer.student_tokens,
            teacher_tokens=answer.teacher_tokens,
            first_s=answer.first_s,
            seconds=answer.seconds,
            handovers=[Handover(seconds, 0) for seconds in answer.handovers_s],
        )
        for answer in batch
    ]
