"""Warming: the teacher reads its prompt while the student still writes the command.

At ``<call>`` a stream is begun for as many tokens as may be wanted. When the command says how many, the call takes
that stream over, if its prompt is the one that the call needs. If the command is refused, malformed or never closed,
the stream is cancelled, and its outcome, even an error, is ignored. How an engine holds its tokens back meanwhile is
the engine's business (``Engine.warm_stream``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from relay_core.engines.base import Chunk, Prompt, Warming, Waste
from relay_core.errors import ContextOverflow, RelayError

Opening = tuple[Prompt, AsyncGenerator[Chunk, None]]
Begin = Callable[[int, Warming], Awaitable[Opening]]


class EarlyStream:
    """A teacher's stream that was begun before its command was whole.

    Args:
        command_at: where the command begins in the student's own stream of text.
        begin: prepares the prompt for a command there, and makes the stream.
        waste: where the engine counts what it uses in vain.

    ``prompt`` is ``None`` until it is prepared. Whoever makes one must call :meth:`drop` in the end.
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

    @property
    def is_taken(self) -> bool:
        """Whether a call has taken it over."""
        return self._warming.is_wanted

    def take(self, n: int) -> AsyncGenerator[Chunk, None]:
        """Take it over for a call: at most ``n`` tokens of it; raises what the engine raises."""
        self._warming.want(n)
        return self._all_chunks()

    async def _all_chunks(self) -> AsyncGenerator[Chunk, None]:
        chunk = await self._first_chunk
        assert self._chunks is not None
        while chunk is not None:
            yield chunk
            chunk = await anext(self._chunks, None)

    async def drop(self) -> Exception | None:
        """Cancel the request, await it, and return its own exception, if any. Safe to call again."""
        self._first_chunk.cancel()
        await asyncio.wait([self._first_chunk])
        if self._chunks is not None:
            await self._chunks.aclose()
        failure = None if self._first_chunk.cancelled() else self._first_chunk.exception()
        return failure if isinstance(failure, Exception) else None


class Warmer:
    """At most one early stream at a time, for one answer.

    Args:
        begin: as for :class:`EarlyStream`.
        waste: where requests in vain are counted.
    """

    def __init__(self, begin: Begin, waste: Waste) -> None:
        self._begin, self._waste = begin, waste
        self._early: EarlyStream | None = None

    @property
    def command_at(self) -> int | None:
        """Where the command begins that a stream was begun for; ``None`` where there is no stream."""
        return None if self._early is None else self._early.command_at

    async def follow(self, open_command: int | None, *, may_begin: Callable[[], bool]) -> None:
        """Keep up with the student's text.

        Args:
            open_command: where a command is open; ``None`` where none is. A stream begun for another place is
                dropped.
            may_begin: asked whether a stream may be begun for this one.
        """
        if self.command_at != open_command:
            await self.drop()
        if self._early is None and open_command is not None and may_begin():
            self._early = EarlyStream(open_command, self._begin, self._waste)

    async def take(self, prompt: Prompt, n: int) -> AsyncGenerator[Chunk, None] | None:
        """The early stream, if it was begun with just this prompt; otherwise it is dropped, and ``None``."""
        if self._early is not None and self._early.prompt == prompt:
            return self._early.take(n)
        await self.drop()
        return None

    async def drop(self) -> None:
        """End the early stream, if there is one. A request that failed untaken counts as read in vain."""
        early, self._early = self._early, None
        if early is None:
            return
        failure = await early.drop()
        failed = isinstance(failure, RelayError) and not isinstance(failure, ContextOverflow)
        if failed and early.prompt is not None and not early.is_taken:
            self._waste.add(len(early.prompt.token_ids or ()), None, 0)
