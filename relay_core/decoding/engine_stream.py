"""One request to an engine: its chunks up to a limit and a deadline, and what it reports of itself."""

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

    ``taken`` is how many tokens it has given; a text without an id is as many as it must have at least. ``usage``,
    ``notes`` and ``waste`` are the latest that it reported.
    """

    def __init__(self, chunks: AsyncGenerator[Chunk, None], limit: int, deadline: float | None) -> None:
        self._chunks, self._limit, self._deadline = chunks, limit, deadline
        self.taken = 0
        self._ending: Finish | None = None  # all tokens have come, only the last chunk is awaited
        self.usage: EngineUsage | None = None
        self.notes: Mapping[str, Any] = {}
        self.waste: Waste | None = None

    async def next(self) -> Chunk:
        """The next chunk; the one that reaches the limit has a finish, unless its usage is in one more chunk.

        Raises:
            OutOfTime: it did not come by the deadline.
            EngineError: the engine failed, or its stream ended although no chunk had a finish.
        """
        is_last = self.taken >= self._limit
        try:
            chunk = await self._read()
        except OutOfTime:
            if self._ending is None:
                raise
            chunk = Chunk(finish=self._ending)  # no token is missing, only the usage
        tokens, count = _fitting(chunk.tokens, self._limit - self.taken)
        self.taken += count
        if tokens is not chunk.tokens:
            chunk = replace(chunk, tokens=tokens, finish=Finish.LENGTH, end_token=None)
        elif chunk.finish is None and self.taken >= self._limit and (is_last or chunk.ending is None):
            chunk = replace(chunk, finish=Finish.LENGTH)
        self._ending = chunk.ending if chunk.finish is None else None
        return chunk

    async def read_usage(self) -> None:
        """Read the last chunk of a stream whose tokens have all come, for its usage."""
        if self._ending is None:
            return
        with suppress(OutOfTime, EngineError):  # no token is missing
            await self._read()

    async def _read(self) -> Chunk:
        if self._deadline is None:
            chunk = await anext(self._chunks, None)
        elif is_past(self._deadline):  # a stream that never waits would never be interrupted
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


def _fitting(tokens: Sequence[Token], room: int) -> tuple[Sequence[Token], int]:
    """The tokens that fit into ``room``, and how many they are; a text without an id is cut where it has more."""
    count = 0
    for i, token in enumerate(tokens):
        n = 1 if token.id is not None else least_tokens(token.text)
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
    """Read one request's stream; however it ends, it is closed and what it used is counted.

    Args:
        chunks: the engine's stream.
        role: whose it is.
        prompt: what was asked.
        limit: at most so many tokens.
        deadline: the loop's time until which each chunk must come.
        transcript: where its tokens go; a text-only engine's are counted there as it reports them.
        tally: where reading, notes and waste are counted. A prompt that did not fit was not read.
    """
    stream = EngineStream(chunks, limit, deadline)
    first, was_read = len(transcript), True
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
            transcript.settle(first, min(stream.usage.completion_tokens, limit))
        if stream.waste is not None:
            tally.waste.merge(stream.waste)
        tally.note(role, stream.notes)
