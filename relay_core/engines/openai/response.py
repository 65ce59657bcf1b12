"""One streamed response: its events, and the chunks that they contain."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from relay_core.engines.base import Chunk, EngineUsage
from relay_core.engines.openai.address import Address
from relay_core.engines.openai.event_reader import EventReader
from relay_core.engines.openai.faults import Fault, reading
from relay_core.engines.openai.http_errors import status_error, translated
from relay_core.engines.openai.sse import EventDecoder, ServerSentEvent
from relay_core.engines.openai.stream_errors import stream_error
from relay_core.errors import EngineError

T = TypeVar("T")

_USAGE_WAIT_S = 2.0  # how long to wait for the usage after the last token
_END_WAIT_S = 0.1  # how long to wait for the end of the response after [DONE], to reuse its connection


class Response:
    """The payloads of a streamed HTTP response as they arrive.

    Args:
        response: the ``openai`` client's response, whose body has not been read.
        address: the endpoint, for errors.
    """

    def __init__(self, response: Any, address: Address) -> None:
        self._response, self._address = response, address
        self._buffer: deque[ServerSentEvent] = deque()
        self._is_at_end = False
        self.is_done = False  # whether [DONE] has arrived
        self._batches = self._read_batches()

    async def _read_batches(self) -> AsyncGenerator[list[ServerSentEvent], None]:
        decoder = EventDecoder()
        async with aclosing(self._response.http_response.aiter_bytes()) as batches:
            async for data in batches:
                if events := decoder.feed(data):
                    yield events
                decoder.check()
        yield decoder.flush()
        decoder.check()

    @property
    def has_payload(self) -> bool:
        """Whether the next event is buffered, so that :meth:`payload` returns without waiting."""
        return bool(self._buffer)

    async def payload(self) -> Mapping[str, Any] | None:
        """The payload of the next event; ``None`` at ``[DONE]`` and at the end.

        Raises:
            Fault: the connection broke, the event is malformed, or it reports a transient error.
            EngineError: the event reports an error that a retry cannot fix.
        """
        while not self._buffer and not self._is_at_end:
            events = await translated(self._address, anext(self._batches, None))
            self._is_at_end = events is None
            self._buffer.extend(events or ())
        if not self._buffer or self.is_done:
            return None
        event = self._buffer.popleft()
        self.is_done = event.is_done
        return None if self.is_done else self._payload_of(event)

    def _payload_of(self, event: ServerSentEvent) -> Mapping[str, Any]:
        with reading("error in the event stream"):
            error = stream_error(event)
        if error is not None:
            message = f"an error in its stream: {error.message}"
            if error.status is not None:
                raise status_error(self._address, error.status, {}, message, event.payload)
            raise Fault(f"{self._address.base_url} sent {self._address.shown(message)}")
        if not isinstance(event.payload, Mapping):
            raise Fault(f"malformed event, which is no JSON object: {event.data[:80]!r}")
        return event.payload

    async def aclose(self) -> None:
        """Close the response; if it is closed before its end, the server cancels the request."""
        try:
            if self.is_done and not self._is_at_end:
                async with asyncio.timeout(_END_WAIT_S):
                    await anext(self._batches, None)
        except Exception:
            pass  # the answer is complete
        finally:
            await self._batches.aclose()
            await self._response.close()


@dataclass(frozen=True, slots=True)
class SilenceLimit:
    """How long an endpoint may stay silent.

    ``silence_s``: seconds without a token. ``deadline``: the event loop's time at which the whole stream must be over.
    """

    silence_s: float
    deadline: float

    async def wait_for(self, work: Awaitable[T]) -> T:
        """Await ``work``, as long as the endpoint may stay silent.

        Raises:
            Fault: ``work`` took longer.
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
        response: the response.
        reader: reads the response's payloads into chunks.
        limit: how long to wait for each token.
    """

    def __init__(self, response: Response, reader: EventReader, limit: SilenceLimit) -> None:
        self._response, self._reader, self._limit = response, reader, limit
        self._resources = AsyncExitStack()
        self._first: Chunk | None = None
        self._pending_error: EngineError | None = None  # an error that arrived after the tokens of the latest chunk
        self._usage_until: float | None = None  # until when to wait for the end, once all tokens have probably arrived

    @classmethod
    async def open(
        cls, request: Awaitable[Response], reader: EventReader, limit: SilenceLimit, resources: AsyncExitStack
    ) -> ChunkStream:
        """Send a request and wait for its first token.

        Args:
            request: sends the request and returns the response.
            reader: reads the response's payloads.
            limit: how long to wait, first for the headers, then for each token.
            resources: the resources to close with the stream. On success, the stream takes them over; on an error, the
                caller must close them.

        Raises:
            Fault, EngineError: the request failed before its first token.
        """
        response = await limit.wait_for(request)
        resources.push_async_callback(response.aclose)
        stream = cls(response, reader, limit)
        stream._first = await stream._next_chunk()
        stream._resources = resources.pop_all()
        return stream

    async def next(self) -> Chunk:
        """The next chunk with a token or a finish, together with everything else that has arrived.

        A chunk with an ``ending`` probably holds the last token, according to the endpoint. The last chunk has the
        finish, and the usage that the endpoint sends after the last token.

        Raises:
            Fault: the stream broke, fell silent or was malformed.
        """
        chunk, self._first = self._first, None
        if chunk is None:
            if self._pending_error is not None:
                return self._ended_by(self._pending_error)
            chunk = await self._next_chunk()
        while chunk.finish is None and self._response.has_payload:
            try:
                more = await self._read_payload()
            except EngineError as error:
                self._pending_error = error
                break
            chunk = replace(more, tokens=(*chunk.tokens, *more.tokens), usage=more.usage or chunk.usage)
        return chunk

    @property
    def notes(self) -> dict[str, Any]:
        """Remarks about the response so far."""
        return self._reader.notes

    async def trailing_usage(self) -> EngineUsage | None:
        """Read the usage, when no more tokens of the response are wanted; it may already have arrived.

        Reading the response to its end also allows its connection to be reused.
        """
        try:
            async with asyncio.timeout(_USAGE_WAIT_S):
                while (payload := await self._response.payload()) is not None:
                    if self._reader.read(payload).tokens:
                        break
        except (EngineError, TimeoutError):
            pass  # all tokens have arrived, so a later error does no harm
        return self._reader.usage

    async def _next_chunk(self) -> Chunk:
        """The next chunk with a token or a finish."""
        while True:
            chunk = await self._wait_for_event()
            if chunk.tokens or chunk.finish is not None:
                return chunk

    async def _wait_for_event(self) -> Chunk:
        """The next event that is not empty; it may hold only reasoning or a finish reason."""
        if self._usage_until is None:
            return await self._limit.wait_for(self._read_event())
        try:
            async with asyncio.timeout_at(self._usage_until):
                return await self._read_event()
        except (EngineError, TimeoutError) as error:
            return self._ended_by(error)

    def _ended_by(self, error: Exception) -> Chunk:
        """The last chunk of a stream that failed after its last token, where an error does no harm."""
        if self._usage_until is None:
            raise error
        return self._reader.end(is_done=self._response.is_done)

    async def _read_event(self) -> Chunk:
        while True:
            seen = self._reader.reasoning_events, self._usage_until
            chunk = await self._read_payload()
            if chunk.tokens or chunk.finish is not None:
                return chunk
            if (self._reader.reasoning_events, self._usage_until) != seen:
                return chunk

    async def _read_payload(self) -> Chunk:
        """The chunk of the next payload, which may be empty; the last chunk at the end of the response."""
        payload = await self._response.payload()
        if payload is None:
            return self._reader.end(is_done=self._response.is_done)
        chunk = self._reader.read(payload)
        if self._reader.hints:  # for this endpoint, a finish reason means nothing
            self._usage_until = None
        elif chunk.ending is not None and self._usage_until is None:
            self._usage_until = asyncio.get_running_loop().time() + _USAGE_WAIT_S
        return chunk

    async def aclose(self) -> None:
        """Cancel unfinished work, close the response, and release the request's place among those in flight."""
        await self._resources.aclose()
