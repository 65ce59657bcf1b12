"""Holds back a stream until the number of tokens is known, and then cuts it at that number.

This is for engines that deliver single tokens and cannot change a request after it was sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from relay_core.engines.base import Chunk, EngineUsage, Finish, Warming
from relay_core.errors import EngineError


async def hold_until_wanted(
    chunks: AsyncGenerator[Chunk, None], warming: Warming, prompt_tokens: int | None, *, read_on: bool = False
) -> AsyncGenerator[Chunk, None]:
    """Yield ``chunks`` as if exactly the wanted number of tokens had been requested; count the rest as waste.

    Args:
        chunks: the stream, which requests the most tokens that may be wanted.
        warming: provides the wanted number of tokens.
        prompt_tokens: the length of the prompt; ``None`` if it is unknown.
        read_on: whether to keep reading while the number is unknown. This is for streams that a server sends even if
            they are not read (over HTTP); every token that arrives counts as written.
    """
    waste = warming.waste
    source = _ReadAhead(chunks) if read_on else chunks
    arrived_count, yielded_count, usage, has_failed = 0, 0, EngineUsage(prompt_tokens), False
    try:
        async with aclosing(source):
            while (chunk := await anext(source, None)) is not None:
                arrived_count += len(chunk.tokens)
                usage = chunk.usage or usage
                n = await warming.wanted()
                was_complete = yielded_count >= n
                tokens = chunk.tokens[: n - yielded_count]
                yielded_count += len(tokens)
                if yielded_count >= n:
                    arrived_count += chunk.end_token is not None
                    usage = replace(usage, completion_tokens=n)
                    if chunk.finish is None and chunk.ending is not None and not was_complete:  # its usage follows
                        yield Chunk(tokens, None, None, usage, chunk.notes, ending=Finish.LENGTH)
                        continue
                    yield Chunk(tokens, Finish.LENGTH, None, usage, chunk.notes)
                    return
                yield chunk
                if chunk.finish is not None:
                    return
    except EngineError:
        has_failed = True
        raise
    finally:
        arrived_count += source.unread_count if isinstance(source, _ReadAhead) else 0
        if warming.is_wanted:
            waste.tokens += arrived_count - yielded_count
        elif not has_failed:
            waste.add(usage.prompt_tokens, usage.cached_tokens, arrived_count)


class _ReadAhead:
    """A stream that an asyncio task reads into a buffer as fast as it arrives."""

    def __init__(self, chunks: AsyncGenerator[Chunk, None]) -> None:
        self._chunks = chunks
        self._buffer: deque[Chunk | BaseException] = deque()
        self._has_arrived = asyncio.Event()
        self._reading = asyncio.ensure_future(self._read())

    @property
    def unread_count(self) -> int:
        """The number of tokens in the buffer."""
        return sum(len(item.tokens) for item in self._buffer if isinstance(item, Chunk))

    async def _read(self) -> None:
        end: BaseException = StopAsyncIteration()
        try:
            async with aclosing(self._chunks):
                async for chunk in self._chunks:
                    self._buffer.append(chunk)
                    self._has_arrived.set()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            end = error
        self._buffer.append(end)
        self._has_arrived.set()

    async def __anext__(self) -> Chunk:
        while not self._buffer:
            self._has_arrived.clear()
            await self._has_arrived.wait()
        item = self._buffer.popleft()
        if isinstance(item, Chunk):
            return item
        raise item

    async def aclose(self) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])
