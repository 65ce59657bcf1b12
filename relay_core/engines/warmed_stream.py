"""A warmed stream, held back until it is known how many tokens are wanted, and cut there.

For engines that deliver token by token and cannot change what they have asked for.
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
    """Yield ``chunks`` as if exactly the wanted number of tokens had been asked for; count the rest as waste.

    Args:
        chunks: the stream; it may bring more tokens than will be wanted.
        prompt_tokens: the length of the prompt; ``None`` where it is not known.
        read_on: keep reading while the number is not known. For streams that are sent whether or not anybody reads
            them (over HTTP): tokens that arrive count as written.
    """
    waste = warming.waste
    source = _Ahead(chunks) if read_on else chunks
    came, sent, usage, failed = 0, 0, EngineUsage(prompt_tokens), False
    try:
        async with aclosing(source):
            while (chunk := await anext(source, None)) is not None:
                came += len(chunk.tokens)
                usage = chunk.usage or usage
                n = await warming.wanted()
                tokens = chunk.tokens[: n - sent]
                sent += len(tokens)
                if sent >= n:
                    came += chunk.end_token is not None
                    yield Chunk(tokens, Finish.LENGTH, None, replace(usage, completion_tokens=n), chunk.notes)
                    return
                yield chunk
                if chunk.finish is not None:
                    return
    except EngineError:
        failed = True
        raise
    finally:
        came += source.unread if isinstance(source, _Ahead) else 0
        if warming.is_wanted:
            waste.tokens += came - sent
        elif not failed:
            waste.add(usage.prompt_tokens, usage.cached_tokens, came)


class _Ahead:
    """A stream read as it comes, whether or not anybody takes it; ``unread``: tokens that nobody took."""

    def __init__(self, chunks: AsyncGenerator[Chunk, None]) -> None:
        self._chunks = chunks
        self._arrived: deque[Chunk | BaseException] = deque()
        self._news = asyncio.Event()
        self._reading = asyncio.ensure_future(self._read())

    @property
    def unread(self) -> int:
        return sum(len(item.tokens) for item in self._arrived if isinstance(item, Chunk))

    async def _read(self) -> None:
        end: BaseException = StopAsyncIteration()
        try:
            async with aclosing(self._chunks):
                async for chunk in self._chunks:
                    self._arrived.append(chunk)
                    self._news.set()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            end = error
        self._arrived.append(end)
        self._news.set()

    async def __anext__(self) -> Chunk:
        while not self._arrived:
            self._news.clear()
            await self._news.wait()
        item = self._arrived.popleft()
        if isinstance(item, Chunk):
            return item
        raise item

    async def aclose(self) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])
