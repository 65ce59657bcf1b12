"""JSON under a schema: the relay writes its answer, then one engine writes that answer again, constrained.

Constrained decoding leaves no room for a command, so there are two steps: the relay writes the answer with its calls,
and then the model that ``structured_by`` names writes the JSON. The usage of the JSON is added to the usage of the
answer.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from relay_core.chat import Conversation, render_async
from relay_core.constraint import Constraint
from relay_core.engines.base import Chunk, Engine, EngineUsage, Finish, Prompt, Sampling, Token
from relay_core.errors import BudgetError, ConfigurationError, EngineError
from relay_core.events import Event, Finished, FinishReason, RelayResult, TextDelta
from relay_core.keys import Role
from relay_core.relay import Relay
from relay_core.settings import RelaySettings
from relay_core.transcript import Author, Segment
from relay_core.usage import Usage

CONSTRAINING = "TransformersEngine, VLLMEngine and OpenAIEngine (in every mode but 'completions')"

MOST_KEPT = 512  # tokens
INSTRUCTION = "Write your last answer again as JSON, and nothing else. The JSON follows this schema:\n"


def constraining_engine(relay: Relay, by: Role) -> Engine:
    """The engine of the role ``by``, which must be able to decode under a schema.

    The engine of an endpoint knows only after its start whether it can: see :func:`start_constraining_engine`.

    Raises:
        ConfigurationError: there is no such engine, or it cannot decode under a schema; the message names the engines
            that can.
    """
    if by not in ("student", "teacher"):
        raise ConfigurationError(f"structured_by is {by!r}: write 'student' or 'teacher'")
    engine, other = (relay.student, relay.teacher) if by == "student" else (relay.teacher, relay.student)
    if engine is None:
        raise ConfigurationError("structured_by='teacher', but this relay has no teacher")
    if not engine.constrains:
        other_role = "teacher" if by == "student" else "student"
        hint = "" if other is None or not other.constrains else f"; here structured_by='{other_role}' would do"
        raise ConfigurationError(
            f"the {by} ({type(engine).__name__}) cannot write JSON under a schema: engines that can are "
            f"{CONSTRAINING}{hint}. Elsewhere write method='function_calling' or 'json_mode'"
        )
    return engine


def with_room_for_json(settings: RelaySettings) -> RelaySettings:
    """The settings of the answer that :func:`write_json` writes again: some of ``max_tokens`` is kept for the JSON.

    Otherwise a model that never ends its answer would leave none.
    """
    kept = min(settings.max_tokens // 2, MOST_KEPT)
    return settings.merged({"max_tokens": settings.max_tokens - kept})


async def start_constraining_engine(relay: Relay, by: Role, schema: Mapping[str, Any]) -> Engine:
    """Start the engine of the role ``by``, and check it and the schema. Call it before the answer, so that a refusal is
    free.

    Raises:
        ConfigurationError: as :func:`constraining_engine`, or the engine cannot decode under ``schema``.
    """
    await constraining_engine(relay, by).start()
    engine = constraining_engine(relay, by)
    await engine.check_constraint(Constraint.json_schema(schema))
    return engine


async def write_json(
    relay: Relay,
    messages: Sequence[Mapping[str, Any]],
    answer: RelayResult,
    schema: Mapping[str, Any],
    *,
    by: Role,
    settings: RelaySettings,
) -> AsyncGenerator[Event, None]:
    """Write ``answer`` again as JSON under ``schema``, event by event; the last event is ``Finished``.

    The text and segments of the result are the JSON. Usage, seconds and failures are the sums over the answer and the
    JSON. The limits ``max_tokens``, ``deadline_s`` and, if the teacher writes the JSON, ``max_teacher_tokens`` also
    apply to the answer and the JSON together.

    Args:
        relay: the relay that wrote ``answer``.
        messages: the conversation that ``answer`` ends.
        schema: a JSON schema.
        by: the role of the model that writes the JSON.
        settings: the settings of both; those of ``answer`` were :func:`with_room_for_json` of them.

    Raises:
        ConfigurationError: as :func:`constraining_engine`, or ``by="teacher"`` with ``calls=False``.
        BudgetError: the answer left no tokens for its JSON.
        EngineError: the engine failed, or its text is not JSON.
    """
    constraining_engine(relay, by)
    if by == "teacher" and not settings.calls:
        raise ConfigurationError("structured_by='teacher' with calls=False: write structured_by='student'")
    sampling = Sampling(
        _tokens_left(answer, by, settings),
        settings.temperature,
        settings.top_p,
        settings.top_k,
        settings.seed,
        json_schema=schema,
    )
    author = Author.STUDENT if by == "student" else Author.TEACHER
    json_text, prompt, finish = _JsonText(author), Prompt(""), FinishReason.STOP
    began = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(None if settings.deadline_s is None else settings.deadline_s - answer.seconds):
            engine = await start_constraining_engine(relay, by, schema)
            prompt = await _prompt(engine, messages, answer.text, schema)
            async with aclosing(engine.stream(prompt, sampling)) as chunks:
                async for chunk in chunks:
                    if delta := json_text.take(chunk):
                        yield delta
                    finish = FinishReason.LENGTH if chunk.finish is Finish.LENGTH else finish
    except TimeoutError:
        finish = FinishReason.DEADLINE
    except EngineError as error:
        error.role = error.role or by
        raise
    if finish is FinishReason.STOP:
        _check(json_text.text, by)
    seconds = answer.seconds + asyncio.get_running_loop().time() - began
    yield Finished(json_text.result(answer, prompt, finish, seconds))


def _tokens_left(answer: RelayResult, by: Role, settings: RelaySettings) -> int:
    left = settings.max_tokens - answer.usage.completion_tokens
    if by == "teacher" and settings.max_teacher_tokens is not None:
        left = min(left, settings.max_teacher_tokens - answer.usage.teacher_tokens)
    if left <= 0:
        raise BudgetError("the answer left no tokens for its JSON: raise max_tokens or max_teacher_tokens")
    return left


async def _prompt(
    engine: Engine, messages: Sequence[Mapping[str, Any]], answer: str, schema: Mapping[str, Any]
) -> Prompt:
    instruction = {"role": "user", "content": INSTRUCTION + json.dumps(schema, ensure_ascii=False)}
    conversation = Conversation.of([*messages, {"role": "assistant", "content": answer}, instruction])
    if engine.tokenizer is None:
        return Prompt("", None, conversation.messages)
    rendered = await render_async(engine.tokenizer, conversation)
    return Prompt(rendered.text, rendered.token_ids, conversation.messages)


def _check(text: str, by: Role) -> None:
    """Refuse text that is not JSON, because some endpoints accept a schema and ignore it."""
    try:
        json.loads(text)
    except ValueError as error:
        raise EngineError(
            f"it was given a schema, but wrote no JSON ({error}): {text[:80]!r}; "
            "where it cannot be held to one, write method='function_calling' or 'json_mode'",
            role=by,
        ) from error


class _JsonText:
    """The JSON that has been written so far, and the usage that its stream reports."""

    def __init__(self, author: Author) -> None:
        self._author = author
        self._tokens: list[Token] = []
        self._usage: EngineUsage | None = None

    @property
    def text(self) -> str:
        return "".join(token.text for token in self._tokens)

    def take(self, chunk: Chunk) -> TextDelta | None:
        """Append a chunk; returns its text, if it has any."""
        self._usage = chunk.usage or self._usage
        self._tokens += chunk.tokens
        text = "".join(token.text for token in chunk.tokens)
        ids = tuple(token.id for token in chunk.tokens if token.id is not None)
        return TextDelta(self._author, text, ids) if text else None

    def result(self, answer: RelayResult, prompt: Prompt, finish: FinishReason, seconds: float) -> RelayResult:
        """``answer`` with the JSON instead of its text, and the usage of both."""
        ids = tuple(token.id for token in self._tokens if token.id is not None)
        logprobs = tuple(token.logprob for token in self._tokens if token.id is not None)
        written = self._written(has_ids=bool(ids))
        return dataclasses.replace(
            answer,
            text=self.text,
            segments=[Segment(self._author, self.text, ids, logprobs, written)],
            usage=answer.usage + self._own_usage(written, len(prompt.token_ids or ())),
            finish_reason=finish,
            seconds=seconds,
            notes={**answer.notes, "answer": answer.text},
        )

    def _written(self, *, has_ids: bool) -> int:
        """The number of tokens of the JSON: without ids, the engine's count, as a text may stand for several tokens."""
        reported = None if self._usage is None else self._usage.completion_tokens
        return len(self._tokens) if reported is None or has_ids else reported

    def _own_usage(self, written: int, prompt_length: int) -> Usage:
        reported = None if self._usage is None else self._usage.prompt_tokens
        read = reported if reported is not None else prompt_length
        cached = None if self._usage is None else self._usage.cached_tokens
        if self._author is Author.STUDENT:
            return Usage(
                student_tokens=written,
                student_prompt_tokens=read,
                student_cached_tokens=cached,
                teacher_cached_tokens=0,
            )
        return Usage(
            teacher_tokens=written, teacher_prompt_tokens=read, teacher_cached_tokens=cached, student_cached_tokens=0
        )
