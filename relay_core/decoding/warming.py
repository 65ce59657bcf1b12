"""Warming: the teacher reads its prompt while the student still writes the command.

At ``<call>`` the loop begins a stream for as many tokens as may be wanted; when the command says how many, the same
stream gives these, if its prompt is the one that the call needs. What the engine does meanwhile is the engine's
business (``Sampling.warming``); when to begin, and what to do with it, is the loop's (``relay.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from relay_core.engines.base import Chunk, Prompt, Warming

Opening = tuple[Prompt, AsyncGenerator[Chunk, None]]


class Warmed:
    """A teacher's stream begun before its command is whole.

    Args:
        at: where the command begins in the student's own stream of text.
        begin: prepares the prompt and makes the stream.

    ``prompt`` is ``None`` until it is prepared. Whoever has this drops it in the end.
    """

    def __init__(self, at: int, begin: Callable[[Warming], Awaitable[Opening]]) -> None:
        self.at = at
        self.prompt: Prompt | None = None
        self._warming = Warming()
        self._chunks: AsyncGenerator[Chunk, None] | None = None
        self._first = asyncio.ensure_future(self._start(begin))

    async def _start(self, begin: Callable[[Warming], Awaitable[Opening]]) -> Chunk | None:
        self.prompt, self._chunks = await begin(self._warming)
        return await anext(self._chunks, None)

    @property
    def is_wanted(self) -> bool:
        """Whether a call uses it."""
        return self._warming.is_wanted

    def stream(self, n: int) -> AsyncGenerator[Chunk, None]:
        """At most ``n`` tokens of it; raises what the engine raises."""
        self._warming.want(n)
        return self._rest()

    async def _rest(self) -> AsyncGenerator[Chunk, None]:
        chunk = await self._first
        assert self._chunks is not None
        while chunk is not None:
            yield chunk
            chunk = await anext(self._chunks, None)

    async def drop(self) -> Exception | None:
        """End it, and wait until it has ended; what it had failed of by itself. Safe to call again."""
        self._first.cancel()
        await asyncio.wait([self._first])
        if self._chunks is not None:
            await self._chunks.aclose()
        failure = None if self._first.cancelled() else self._first.exception()
        return failure if isinstance(failure, Exception) else None
