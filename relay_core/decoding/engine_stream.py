"""One request to an engine: its chunks up to a limit and a deadline, and what it reports of itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

from relay_core.decoding.deadline import OutOfTime, is_past, within
from relay_core.decoding.tally import Tally
from relay_core.engines.base import Chunk, EngineUsage, Finish, Prompt, Waste
from relay_core.errors import ContextOverflow, EngineError
from relay_core.keys import Role
from relay_core.transcript import Transcript


class EngineStream:
    """An engine's stream, cut at ``limit`` tokens.

    ``taken`` is how many tokens it has given. ``usage``, ``notes`` and ``waste`` are the latest that it reported.
    """

    def __init__(self, chunks: AsyncGenerator[Chunk, None], limit: int, deadline: float | None) -> None:
        self._chunks, self._limit, self._deadline = chunks, limit, deadline
        self.taken = 0
        self.usage: EngineUsage | None = None
        self.notes: Mapping[str, Any] = {}
        self.waste: Waste | None = None

    async def next(self) -> Chunk:
        """The next chunk; the one that reaches the limit has a finish.

        Raises:
            OutOfTime: it did not come by the deadline.
            EngineError: the engine failed, or its stream ended although no chunk had a finish.
        """
        if self._deadline is None:
            chunk = await anext(self._chunks, None)
        elif is_past(self._deadline):  # a stream that never waits would never be interrupted
            raise OutOfTime
        else:
            chunk = await within(anext(self._chunks, None), self._deadline)
        if chunk is None:
            raise EngineError("its stream ended without saying why")
        self.usage, self.notes, self.waste = (
            chunk.usage or self.usage,
            chunk.notes or self.notes,
            chunk.waste or self.waste,
        )
        room = self._limit - self.taken
        if len(chunk.tokens) > room:
            chunk = replace(chunk, tokens=chunk.tokens[:room], finish=Finish.LENGTH, end_token=None)
        elif len(chunk.tokens) == room and chunk.finish is None:
            chunk = replace(chunk, finish=Finish.LENGTH)
        self.taken += len(chunk.tokens)
        return chunk


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
    except ContextOverflow:
        was_read = False
        raise
    finally:
        if was_read:
            tally.reads[role].add(None if prompt.token_ids is None else len(prompt.token_ids), stream.usage)
        if stream.usage is not None and stream.usage.completion_tokens is not None:
            transcript.settle(first, stream.usage.completion_tokens)
        if stream.waste is not None:
            tally.waste.merge(stream.waste)
        tally.note(role, stream.notes)
