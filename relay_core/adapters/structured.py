"""JSON under a schema: the relay writes its answer, then one engine writes that answer again, constrained.

Decoding under a grammar leaves no room for a command, so the two are kept apart: first the answer, calls and all,
then its JSON by the side that is named. What that side reads and writes is added to the answer's usage.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal

from relay_core.chat import Conversation, render
from relay_core.engines.base import Chunk, Engine, EngineUsage, Finish, Prompt, Sampling, Token
from relay_core.errors import BudgetError, ConfigurationError, EngineError
from relay_core.events import Event, Finished, FinishReason, RelayResult, TextDelta
from relay_core.relay import Relay
from relay_core.settings import RelaySettings
from relay_core.transcript import Author, Segment
from relay_core.usage import Usage

Side = Literal["student", "teacher"]
CONSTRAINING = "VLLMEngine and OpenAIEngine (in every mode but 'completions')"

INSTRUCTION = "Write your last answer again as JSON, and nothing else. The JSON follows this schema:\n"


def constraining_engine(relay: Relay, by: Side) -> Engine:
    """The engine of that side; what an endpoint can do is known for certain only when it has started.

    Raises:
        ConfigurationError: there is none, or it cannot decode under a schema; the message says what can.
    """
    if by not in ("student", "teacher"):
        raise ConfigurationError(f"structured_by is {by!r}: write 'student' or 'teacher'")
    engine = relay.student if by == "student" else relay.teacher
    if engine is None:
        raise ConfigurationError("structured_by='teacher', but this relay has no teacher")
    if not engine.constrains:
        other = relay.teacher if by == "student" else relay.student
        hint = "" if other is None or not other.constrains else f"; here structured_by='{_other(by)}' would do"
        raise ConfigurationError(
            f"the {by} ({type(engine).__name__}) cannot write JSON under a schema: engines that can are "
            f"{CONSTRAINING}{hint}. Elsewhere write method='function_calling' or 'json_mode'"
        )
    return engine


async def started(relay: Relay, by: Side) -> Engine:
    """:func:`constraining_engine`, started, so that a refusal comes before an answer is paid for."""
    await constraining_engine(relay, by).start()
    return constraining_engine(relay, by)


async def write_json(
    relay: Relay,
    messages: Sequence[Mapping[str, Any]],
    answer: RelayResult,
    schema: Mapping[str, Any],
    *,
    by: Side,
    settings: RelaySettings,
) -> AsyncGenerator[Event, None]:
    """``answer`` once more, as JSON under ``schema``, event by event; the last one is ``Finished``.

    Its result's text and segments are the JSON; usage, seconds and failures are those of both together.
    ``max_tokens`` and ``deadline_s`` hold for both together; ``max_teacher_tokens`` too where the teacher writes.

    Raises:
        ConfigurationError: as :func:`constraining_engine`, or the teacher is asked for with ``calls=False``.
        BudgetError: the answer has left no tokens for it.
        EngineError: the engine failed, or what it wrote is no JSON.
    """
    constraining_engine(relay, by)
    if by == "teacher" and not settings.calls:
        raise ConfigurationError("structured_by='teacher' with calls=False: write structured_by='student'")
    allowed = settings.max_tokens - answer.usage.completion_tokens
    if by == "teacher" and settings.max_teacher_tokens is not None:
        allowed = min(allowed, settings.max_teacher_tokens - answer.usage.teacher_tokens)
    if allowed <= 0:
        raise BudgetError("the answer left no tokens for its JSON: raise max_tokens or max_teacher_tokens")
    author = Author.STUDENT if by == "student" else Author.TEACHER
    tokens: list[Token] = []
    finish, usage = FinishReason.STOP, None
    began = asyncio.get_running_loop().time()
    left = None if settings.deadline_s is None else settings.deadline_s - answer.seconds
    try:
        async with asyncio.timeout(left):
            engine = await started(relay, by)
            prompt = _prompt(engine, messages, answer.text, schema)
            sampling = Sampling(
                allowed, settings.temperature, settings.top_p, settings.top_k, settings.seed, json_schema=schema
            )
            async with aclosing(engine.stream(prompt, sampling)) as chunks:
                async for chunk in chunks:
                    usage = chunk.usage or usage
                    tokens += chunk.tokens
                    if text := "".join(t.text for t in chunk.tokens):
                        yield TextDelta(author, text, tuple(t.id for t in chunk.tokens if t.id is not None))
                    finish = _finish(chunk, finish)
    except TimeoutError:
        finish = FinishReason.DEADLINE
    except EngineError as error:
        error.role = error.role or by
        raise
    if finish is FinishReason.STOP:
        _check("".join(t.text for t in tokens), by)
    seconds = asyncio.get_running_loop().time() - began
    yield Finished(_result(answer, author, tokens, prompt, usage, finish, seconds))


def _check(text: str, by: Side) -> None:
    """Some endpoints take a schema and pay no heed to it."""
    try:
        json.loads(text)
    except ValueError as error:
        raise EngineError(
            f"it was given a schema, but wrote no JSON ({error}): {text[:80]!r}; "
            "where it cannot be held to one, write method='function_calling' or 'json_mode'",
            role=by,
        ) from error


def _other(by: Side) -> Side:
    return "teacher" if by == "student" else "student"


def _prompt(engine: Engine, messages: Sequence[Mapping[str, Any]], answer: str, schema: Mapping[str, Any]) -> Prompt:
    asked = {"role": "user", "content": INSTRUCTION + json.dumps(schema, ensure_ascii=False)}
    conversation = Conversation.of([*messages, {"role": "assistant", "content": answer}, asked])
    if engine.tokenizer is None:
        return Prompt("", None, conversation.messages)
    rendered = render(engine.tokenizer, conversation)
    return Prompt(rendered.text, rendered.token_ids, conversation.messages)


def _finish(chunk: Chunk, so_far: FinishReason) -> FinishReason:
    return FinishReason.LENGTH if chunk.finish is Finish.LENGTH else so_far


def _result(
    answer: RelayResult,
    author: Author,
    tokens: Sequence[Token],
    prompt: Prompt,
    usage: EngineUsage | None,
    finish: FinishReason,
    seconds: float,
) -> RelayResult:
    text = "".join(t.text for t in tokens)
    ids = tuple(t.id for t in tokens if t.id is not None)
    logprobs = tuple(t.logprob for t in tokens if t.id is not None)
    reported = None if usage is None else usage.completion_tokens
    written = len(tokens) if reported is None or ids else reported
    counted = None if usage is None else usage.prompt_tokens
    read = counted if counted is not None else len(prompt.token_ids or ())
    cached = None if usage is None else usage.cached_tokens
    if author is Author.STUDENT:
        more = Usage(student_tokens=written, student_prompt_tokens=read, student_cached_tokens=cached)
        more = dataclasses.replace(more, teacher_cached_tokens=0)
    else:
        more = Usage(teacher_tokens=written, teacher_prompt_tokens=read, teacher_cached_tokens=cached)
        more = dataclasses.replace(more, student_cached_tokens=0)
    return dataclasses.replace(
        answer,
        text=text,
        segments=[Segment(author, text, ids, logprobs, written)],
        usage=answer.usage + more,
        finish_reason=finish,
        seconds=answer.seconds + seconds,
        notes={**answer.notes, "answer": answer.text},
    )
