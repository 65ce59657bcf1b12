"""One streamed response: its lines, and the chunks that they hold."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from relay_core.engines.base import Chunk, EngineUsage
from relay_core.engines.openai.address import Address
from relay_core.engines.openai.event_reader import EventReader, event_data
from relay_core.engines.openai.faults import Fault
from relay_core.engines.openai.http_errors import translate_errors
from relay_core.errors import EngineError

T = TypeVar("T")

_USAGE_WAIT_S = 2.0  # after the last token, for the usage that follows it
_MAX_LINE_BYTES = 64 * 2**20


class Response:
    """The lines of a streamed HTTP response as they arrive; empty lines are left out.

    Args:
        response: the ``openai`` client's response, its body unread.
        address: the endpoint, for errors.
    """

    def __init__(self, response: Any, address: Address) -> None:
        self._response, self._address = response, address
        self._buffer: deque[bytes] = deque()
        self._is_at_end = False
        self._batches = self._read_batches()

    async def _read_batches(self) -> AsyncGenerator[list[bytes], None]:
        # not httpx's iter_lines, which also splits at U+2028 and other separators that JSON strings may hold
        rest = b""
        async for data in self._response.http_response.aiter_bytes():
            *lines, rest = (rest + data).split(b"\n") if rest else data.split(b"\n")
            yield lines
            if len(rest) > _MAX_LINE_BYTES:
                raise Fault(f"a line of more than {_MAX_LINE_BYTES} bytes in the event stream")
        yield [rest]

    @property
    def has_line(self) -> bool:
        """Whether the next line is buffered, so that :meth:`line` returns without waiting."""
        return bool(self._buffer)

    async def line(self) -> bytes | None:
        """The next line; ``None`` at the end.

        Raises:
            Fault: the connection broke.
        """
        while not self._buffer and not self._is_at_end:
            with translate_errors(self._address):
                lines = await anext(self._batches, None)
            self._is_at_end = lines is None
            self._buffer.extend(line for line in map(_without_return, lines or ()) if line)
        return self._buffer.popleft() if self._buffer else None

    async def aclose(self) -> None:
        """Close the response; closing it before its end makes the server cancel the request."""
        await self._batches.aclose()
        await self._response.close()


def _without_return(line: bytes) -> bytes:
    return line.rstrip(b"\r")


@dataclass(frozen=True, slots=True)
class SilenceLimit:
    """How long an endpoint may stay silent.

    ``silence_s``: seconds without a token. ``deadline``: the event loop's time at which the whole stream must be over.
    """

    silence_s: float
    deadline: float

    async def wait_for(self, work: Awaitable[T]) -> T:
        """Await ``work`` for as long as silence is allowed.

        Raises:
            Fault: it took longer.
        """
        until = min(asyncio.get_running_loop().time() + self.silence_s, self.deadline)
        try:
            async with asyncio.timeout_at(until):
                return await work
        except TimeoutError as error:
            reason = (
                "the whole answer's time is over" if until == self.deadline else f"nothing for {self.silence_s:g} s"
            )
            raise Fault(f"the endpoint fell silent: {reason}") from error


class ChunkStream:
    """The chunks of one streamed response, whose first token has arrived. Built by :meth:`open`.

    Args:
        response: its lines.
        reader: reads its events.
        limit: how long to wait for each chunk.
        resources: closed with the stream: the response, and the request's place among those in flight.
        first: the chunk with the first token.
    """

    def __init__(
        self, response: Response, reader: EventReader, limit: SilenceLimit, resources: AsyncExitStack, first: Chunk
    ) -> None:
        self._response, self._reader, self._limit, self._resources = response, reader, limit, resources
        self._first: Chunk | None = first
        self._pending_error: EngineError | None = None  # arrived behind the tokens of the latest chunk

    @classmethod
    async def open(
        cls, request: Awaitable[Response], reader: EventReader, limit: SilenceLimit, resources: AsyncExitStack
    ) -> ChunkStream:
        """Send a request and wait for its first token.

        Args:
            request: sends the request and returns the response.
            reader: reads the response's events.
            limit: how long to wait, first for the headers, then for each token.
            resources: what to close with the stream. They are taken over on success; on an error the caller closes
                them.

        Raises:
            Fault, EngineError: the request failed before its first token.
        """
        response = await limit.wait_for(request)
        resources.push_async_callback(response.aclose)
        first = await limit.wait_for(_next_with_content(response, reader))
        return cls(response, reader, limit, resources.pop_all(), first)

    async def next(self) -> Chunk:
        """The next chunk with a token or a finish, together with everything else that has arrived.

        The last chunk has the usage that the endpoint sends after it.

        Raises:
            Fault: the stream broke, fell silent or was malformed.
        """
        chunk, self._first = self._first, None
        if chunk is None:
            if self._pending_error is not None:
                raise self._pending_error
            chunk = await self._limit.wait_for(_next_with_content(self._response, self._reader))
        chunk = await self._with_buffered(chunk)
        if chunk.finish is not None:
            chunk = replace(chunk, usage=await self.trailing_usage() or chunk.usage)  # only this one has cached tokens
        return chunk

    async def trailing_usage(self) -> EngineUsage | None:
        """The usage that follows the last token.

        Reading on to the end of the response also lets the connection be used again.
        """
        usage = None
        try:
            async with asyncio.timeout(_USAGE_WAIT_S):
                while (line := await self._response.line()) is not None:
                    chunk = self._reader.read(event_data(line) or {})
                    usage = usage or chunk.usage
                    if chunk.tokens:
                        break
        except (EngineError, TimeoutError):
            pass  # all tokens have arrived: an error behind them does no harm
        return usage

    async def _with_buffered(self, chunk: Chunk) -> Chunk:
        """``chunk`` merged with every chunk that is buffered; an error among them is raised by the next read."""
        while chunk.finish is None and self._response.has_line:
            try:
                more = await _next_chunk(self._response, self._reader)
            except EngineError as error:
                self._pending_error = error
                break
            chunk = replace(more, tokens=(*chunk.tokens, *more.tokens), usage=more.usage or chunk.usage)
        return chunk

    async def aclose(self) -> None:
        """Close the response and give up the request's place among those in flight; unfinished work is cancelled."""
        await self._resources.aclose()


async def _next_with_content(response: Response, reader: EventReader) -> Chunk:
    while True:
        chunk = await _next_chunk(response, reader)
        if chunk.tokens or chunk.finish is not None:
            return chunk


async def _next_chunk(response: Response, reader: EventReader) -> Chunk:
    """The chunk of the next line, which may be empty."""
    line = await response.line()
    payload = {} if line is None else event_data(line)
    if payload == {}:
        raise Fault("the stream ended before the answer did")
    return Chunk() if payload is None else reader.read(payload)
