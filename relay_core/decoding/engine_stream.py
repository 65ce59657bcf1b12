"""The stream of one request to an engine: its chunks (up to a limit and a deadline), its usage, its notes and its
waste."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from relay_core.decoding.deadline import OutOfTime, is_past, within
from relay_core.decoding.tally import Tally
from relay_core.engines.base import Chunk, EngineUsage, Finish, Prompt, Token, Waste
from relay_core.errors import ContextOverflow, EngineError
from relay_core.keys import Role
from relay_core.transcript import LONGEST_TOKEN, Transcript, least_tokens


class EngineStream:
    """An engine's stream, cut at ``limit`` tokens.

    ``token_count`` is the number of tokens so far; a text without an id counts as
    :func:`~relay_core.transcript.least_tokens` of it. ``usage``, ``notes`` and ``waste`` are the engine's latest
    reports.
    """

    def __init__(self, chunks: AsyncGenerator[Chunk, None], limit: int, deadline: float | None) -> None:
        self._chunks, self._limit, self._deadline = chunks, limit, deadline
        self.token_count = 0
        self._ending: Finish | None = None  # set once all tokens have arrived and only the usage is missing
        self.usage: EngineUsage | None = None
        self.notes: Mapping[str, Any] = {}
        self.waste: Waste | None = None

    async def next(self) -> Chunk:
        """The next chunk. The chunk that reaches the limit has a finish, unless a further chunk will bring the usage.

        Raises:
            OutOfTime: the chunk did not arrive by the deadline.
            EngineError: the engine failed, or its stream ended without a finish.
        """
        limit_was_reached = self.token_count >= self._limit
        try:
            chunk = await self._read()
        except OutOfTime:
            if self._ending is None:
                raise
            chunk = Chunk(finish=self._ending)  # all tokens have arrived; only the usage is missing
        tokens, count = _fitting(chunk.tokens, self._limit - self.token_count)
        self.token_count += count
        if tokens is not chunk.tokens:
            chunk = replace(chunk, tokens=tokens, finish=Finish.LENGTH, end_token=None)
        elif chunk.finish is None and self.token_count >= self._limit and (limit_was_reached or chunk.ending is None):
            chunk = replace(chunk, finish=Finish.LENGTH)
        self._ending = chunk.ending if chunk.finish is None else None
        return chunk

    async def read_usage(self) -> None:
        """Wait for the usage if all tokens have arrived and the engine has announced one more chunk."""
        if self._ending is None:
            return
        with suppress(OutOfTime, EngineError):  # all tokens have arrived; only the usage is missing
            await self._read()

    async def _read(self) -> Chunk:
        """Await the next chunk, and keep its reports; raises the errors of :meth:`next`."""
        if self._deadline is None:
            chunk = await anext(self._chunks, None)
        elif is_past(self._deadline):  # a timeout would not interrupt a stream that never waits
            raise OutOfTime
        else:
            chunk = await within(anext(self._chunks, None), self._deadline)
        if chunk is None:
            raise EngineError("its stream ended without saying why")
        self.usage, self.notes, self.waste = (
            chunk.usage.believable() if chunk.usage is not None else self.usage,
            chunk.notes or self.notes,
            chunk.waste or self.waste,
        )
        return chunk


def count_tokens(token: Token) -> int:
    """The number of tokens that a token stands for: without an id, at least as many as its text must have."""
    return 1 if token.id is not None else least_tokens(token.text)


def _fitting(tokens: Sequence[Token], room: int) -> tuple[Sequence[Token], int]:
    """The tokens that fit into ``room``, and their number; a text without an id is shortened if it counts as too
    many."""
    count = 0
    for i, token in enumerate(tokens):
        n = count_tokens(token)
        if count + n > room:
            cut = token._replace(text=token.text[: (room - count) * LONGEST_TOKEN])
            return ([*tokens[:i], cut], room) if cut.text and token.id is None else (tokens[:i], count)
        count += n
    return tokens, count


@asynccontextmanager
async def engine_stream(
    chunks: AsyncGenerator[Chunk, None],
    *,
    role: Role,
    prompt: Prompt,
    limit: int,
    deadline: float | None,
    transcript: Transcript,
    tally: Tally,
) -> AsyncIterator[EngineStream]:
    """Read the stream of one request. At the end, even after an error, close the stream and count its usage.

    Args:
        chunks: the engine's stream.
        role: the role of the engine.
        prompt: the request's prompt.
        limit: the most tokens to read.
        deadline: the event loop's time by which each chunk must arrive; ``None`` for no deadline.
        transcript: the transcript to which the caller adds the tokens. For a text-only engine, the reported number of
            tokens is distributed over these entries.
        tally: counts the tokens that were read, and those of text that was dropped, and keeps notes and waste. A prompt
            that does not fit into the context is not counted as read.
    """
    stream = EngineStream(chunks, limit, deadline)
    first, was_read, discarded = len(transcript), True, tally.discarded
    try:
        async with aclosing(chunks):
            yield stream
            await stream.read_usage()
    except ContextOverflow:
        was_read = False
        raise
    finally:
        if was_read:
            tally.reads[role].add(None if prompt.token_ids is None else len(prompt.token_ids), stream.usage)
        if stream.usage is not None and stream.usage.completion_tokens is not None:
            written = min(stream.usage.completion_tokens, limit) - (tally.discarded - discarded)
            tally.discarded += transcript.settle(first, max(0, written), tally.dropped_chars)
        tally.dropped_chars = 0
        if stream.waste is not None:
            tally.waste.merge(stream.waste)
        tally.note(role, stream.notes)
