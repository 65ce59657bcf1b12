"""One event loop's access to an endpoint: its connections, and its limit of requests in flight.

Every request passes through this module: it waits for its turn, asks the circuit breaker, and has a limit of silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from relay_core.engines.in_flight import RequestsInFlight
from relay_core.engines.openai.address import Address
from relay_core.engines.openai.connection import Connection
from relay_core.engines.openai.faults import Fault
from relay_core.engines.openai.refusals import LIMITS, MOST_CHANGES, OPTIONAL, Adjustments
from relay_core.engines.openai.response import ChunkStream, SilenceLimit
from relay_core.engines.openai.resumption import StreamProgress
from relay_core.engines.openai.retries import Breaker, Patience
from relay_core.errors import EngineError

T = TypeVar("T")


class LoopClient:
    """The client of the running event loop.

    Args:
        address: the endpoint.
        patience: provides ``connect_s`` and ``max_in_flight``.
        breaker: the circuit breaker that all event loops share.
        in_flight: the counter of requests in flight that all event loops share.
        adjustments: what the endpoint has refused so far, shared by all event loops.
        logprobs: whether to request log-probabilities.

    ``connection`` sends requests directly. ``gate`` admits up to ``max_in_flight`` requests at a time, in order of
    arrival.
    """

    def __init__(
        self,
        address: Address,
        patience: Patience,
        breaker: Breaker,
        in_flight: RequestsInFlight,
        adjustments: Adjustments,
        *,
        logprobs: bool,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.connection = Connection(address, patience)
        self.gate = asyncio.Semaphore(patience.max_in_flight)
        self._address, self.patience = address, patience
        self.breaker, self._in_flight, self._logprobs = breaker, in_flight, logprobs
        self._adjustments = adjustments
        self._probing: asyncio.Future[None] | None = None
        self._is_closed = False
        self._waits: set[asyncio.Timeout] = set()  # the waits to end when the client is closed

    async def probe_once(self, probe: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Await ``probe()``; concurrent callers share a single probe.

        Raises:
            EngineError: the client was closed in the meantime.
        """
        if self._probing is None or self._probing.done():
            self._probing = asyncio.ensure_future(probe())
            # retrieve the exception, because asyncio would log it as lost if every caller was cancelled
            self._probing.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            await asyncio.shield(self._probing)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if self._probing.cancelled() and caller is not None and not caller.cancelling():
                raise EngineError(f"{self._address.spec} was closed while it was being asked what it can do") from None
            raise

    async def request(self, send: Callable[[], Awaitable[T]], silence_s: float) -> T:
        """Send a request that is not streamed, and return its answer.

        Args:
            send: sends the request.
            silence_s: how long to wait for the answer, in seconds.

        Raises:
            Fault: no answer in time, or what ``send`` raises.
            BreakerOpen: the circuit breaker is open.
        """
        async with self.gate:
            with self.breaker.attempt():
                try:
                    async with asyncio.timeout(silence_s):
                        return await send()
                except TimeoutError as error:
                    raise Fault(f"{self._address.base_url}: no answer in {silence_s:g} s") from error

    async def open(self, progress: StreamProgress, limit: SilenceLimit, notes: MutableMapping[str, Any]) -> ChunkStream:
        """Send a request for the rest of a stream, and return its response once the first token has arrived.

        If the endpoint refuses an optional field, the request is sent again without it. If it refuses ``max_tokens``,
        the request is sent again with a ``max_tokens`` that fits.

        Args:
            progress: the stream.
            limit: how long the endpoint may stay silent.
            notes: receives a note about each change of the request.

        Raises:
            Fault: a transient failure, or too many requests in flight until the deadline.
            BreakerOpen: the circuit breaker is open.
            EngineError: the endpoint refused the request.
        """
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout_at(limit.deadline):
                    await stack.enter_async_context(self.gate)
                    stack.enter_context(self._in_flight.track_request())
            except TimeoutError as error:
                raise Fault(
                    f"{self._address.spec}: no turn came: {self.patience.max_in_flight} requests in flight"
                ) from error
            with self.breaker.attempt():
                tokens_per_event = self._in_flight.tokens_per_message(warmed=progress.warmed)
                asked_for = progress.begin_request(
                    self._address.model, logprobs=self._logprobs, tokens_per_event=tokens_per_event
                )
                body = self._adjustments.apply(asked_for)
                for _ in range(MOST_CHANGES):
                    try:
                        request = self.connection.open(progress.endpoint.dialect.path, body)
                        stream = await ChunkStream.open(request, progress.event_reader(), limit, stack)
                    except EngineError as refusal:
                        changed = self._adjustments.after(refusal, body)
                        if changed is None:
                            raise
                        body = changed
                    else:
                        _note_changes(notes, asked_for, body)
                        return stream
                raise EngineError(f"{self._address.spec} refuses every form of the request")

    async def until_closed(self, work: Callable[[], Awaitable[T]]) -> T:
        """Await ``work()``, and cancel it immediately when the client is closed.

        Raises:
            EngineError: the client was closed.
        """
        closed = f"{self._address.spec} was closed while it answered"
        if self._is_closed:
            raise EngineError(closed)
        try:
            async with asyncio.timeout(None) as wait:
                self._waits.add(wait)
                try:
                    return await work()
                finally:
                    self._waits.discard(wait)
        except TimeoutError:
            if not wait.expired():
                raise
            raise EngineError(closed) from None

    async def aclose(self) -> None:
        """End all running answers and probes, and close the connections."""
        self._is_closed = True
        for wait in list(self._waits):
            wait.reschedule(self.loop.time())
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        await self.connection.aclose()


def _note_changes(notes: MutableMapping[str, Any], asked_for: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    """Note how the request that was sent differs from the one that was asked for."""
    if left_out := [name for name in OPTIONAL if name in asked_for and name not in body]:
        notes["left_out"] = f"the endpoint refuses {', '.join(left_out)}"
    limits = [next(values[name] for name in LIMITS if name in values) for values in (asked_for, body)]
    if limits[1] < limits[0]:
        notes["max_tokens"] = f"{limits[0]} tokens do not fit: {limits[1]} were asked for"
