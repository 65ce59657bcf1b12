"""Warming: the teacher reads its prompt while the student is still writing the command.

At ``<call>``, the loop begins a stream of the teacher for the most tokens that the call may have; the engine holds back
the tokens (``Engine.warm_stream``). When the command is complete, the call uses this stream if its prompt is the one
that the call needs. If the command is refused, malformed or never closed, the stream is cancelled, and its outcome,
even an error, is ignored.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from relay_core.engines.base import Chunk, Prompt, Warming, Waste
from relay_core.errors import ContextOverflow, RelayError

Opening = tuple[Prompt, AsyncGenerator[Chunk, None]]
Begin = Callable[[int, Warming], Awaitable[Opening]]


class EarlyStream:
    """A stream of the teacher that is begun before the command is complete.

    Args:
        command_at: the student's character (see ``transcript.py``) at which the command begins.
        begin: prepares the prompt for a call at that character, and begins the stream.
        waste: where the engine counts wasted tokens.

    ``prompt`` is ``None`` until it is prepared. The owner must finally call :meth:`drop`.
    """

    def __init__(self, command_at: int, begin: Begin, waste: Waste) -> None:
        self.command_at = command_at
        self.prompt: Prompt | None = None
        self._warming = Warming(waste)
        self._chunks: AsyncGenerator[Chunk, None] | None = None
        self._first_chunk = asyncio.ensure_future(self._start(begin))

    async def _start(self, begin: Begin) -> Chunk | None:
        self.prompt, self._chunks = await begin(self.command_at, self._warming)
        return await anext(self._chunks, None)

    def claim(self, n: int) -> AsyncGenerator[Chunk, None]:
        """Use the stream for a call of at most ``n`` tokens; the returned generator raises the engine's errors."""
        self._warming.want(n)
        return self._all_chunks()

    async def _all_chunks(self) -> AsyncGenerator[Chunk, None]:
        chunk = await self._first_chunk
        assert self._chunks is not None
        while chunk is not None:
            yield chunk
            chunk = await anext(self._chunks, None)

    async def drop(self) -> bool:
        """Cancel the request and await it; returns whether it failed before a call used it. Safe to call repeatedly."""
        self._first_chunk.cancel()
        await asyncio.wait([self._first_chunk])
        if self._chunks is not None:
            await self._chunks.aclose()
        failure = None if self._first_chunk.cancelled() else self._first_chunk.exception()
        failed = isinstance(failure, RelayError) and not isinstance(failure, ContextOverflow)
        return failed and not self._warming.is_wanted


class Warmer:
    """At most one early stream at a time, for one answer.

    Args:
        begin: as for :class:`EarlyStream`.
        waste: where wasted requests and their tokens are counted.
    """

    def __init__(self, begin: Begin, waste: Waste) -> None:
        self._begin, self._waste = begin, waste
        self._early: EarlyStream | None = None

    @property
    def command_at(self) -> int | None:
        """The student's character at which the command of the early stream begins; ``None`` if there is no early
        stream."""
        return None if self._early is None else self._early.command_at

    async def follow(self, open_command: int | None, *, may_begin: Callable[[], bool]) -> None:
        """Begin or drop the early stream, so that it always belongs to the command that is open now.

        Args:
            open_command: the student's character at which the open command begins; ``None`` if none is open.
            may_begin: returns whether a stream may be begun; it is called only if the open command has none.
        """
        if self.command_at != open_command:
            await self.drop()
        if self._early is None and open_command is not None and may_begin():
            self._early = EarlyStream(open_command, self._begin, self._waste)

    async def claim(self, prompt: Prompt, n: int) -> AsyncGenerator[Chunk, None] | None:
        """Use the early stream for at most ``n`` tokens if its prompt is ``prompt``; else drop it, return ``None``."""
        if self._early is not None and self._early.prompt == prompt:
            return self._early.claim(n)
        await self.drop()
        return None

    async def drop(self) -> None:
        """End the early stream, if there is one. If its request failed before a call used it, count it as wasted."""
        early, self._early = self._early, None
        if early is not None and await early.drop() and early.prompt is not None:
            self._waste.add(len(early.prompt.token_ids or ()), None, 0)
