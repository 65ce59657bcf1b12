"""One stream from an endpoint, read from as many responses as necessary."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from relay_core.engines.base import Chunk, EngineUsage, Finish, Waste
from relay_core.engines.openai.faults import Fault, NoAnswer
from relay_core.engines.openai.hedging import hedged
from relay_core.engines.openai.loop_client import LoopClient
from relay_core.engines.openai.protocol import APPROXIMATE, Mode
from relay_core.engines.openai.response import ChunkStream, SilenceLimit
from relay_core.engines.openai.resumption import StreamProgress
from relay_core.engines.openai.retries import Patience, with_retries
from relay_core.errors import EngineError


async def resumed(
    client: LoopClient, progress: StreamProgress, deadline: float, waste: Waste | None = None
) -> AsyncGenerator[Chunk, None]:
    """The chunks of one stream. If a response breaks, the remaining tokens are requested, at most ``retries`` times.

    Args:
        client: sends the requests.
        progress: what the stream has delivered so far.
        deadline: the event loop's time at which the stream must be over.
        waste: counts requests that lost against their hedge, and tokens that are not delivered; with ``None``, the
            chunks report them.

    Raises:
        Fault, BreakerOpen: the endpoint failed, after the retries.
        NoAnswer: the endpoint wrote no text; the chunk before this error holds the usage.
        EngineError: the endpoint refused the request.
    """
    own_waste = Waste() if waste is None else waste
    notes: dict[str, Any] = {"approximate": APPROXIMATE} if progress.endpoint.mode is Mode.CHAT else {}
    attempts = _Attempts(client, progress, deadline, notes, own_waste)

    def with_waste(chunk: Chunk) -> Chunk:
        is_reported = waste is None and (own_waste.requests or own_waste.tokens)
        return replace(chunk, waste=replace(own_waste)) if is_reported else chunk

    while True:
        try:
            response = await attempts.open()
        except NoAnswer as error:
            own_waste.tokens += error.written_tokens
            yield with_waste(Chunk(usage=progress.usage(error.usage), notes=notes))
            raise
        async with aclosing(response):
            while True:
                try:
                    chunk = await progress.receive(response, notes)
                except Fault as fault:
                    broken = fault
                    break
                yield with_waste(chunk)
                if chunk.finish is not None:
                    return
        client.breaker.record_failure(broken.message)
        if not progress.can_resume:
            notes["broken"] = f"{broken.message}; mode chat cannot continue an answer, which is therefore incomplete"
            yield with_waste(Chunk((), Finish.LENGTH, None, progress.usage(None), notes))
            return
        await attempts.prepare_to_resume(broken)


class _Attempts:
    """The requests of one stream. Each has retries and a hedge; together they have at most ``retries`` retries."""

    def __init__(
        self, client: LoopClient, progress: StreamProgress, deadline: float, notes: dict[str, Any], waste: Waste
    ) -> None:
        self._client, self._progress, self._deadline = client, progress, deadline
        self._notes, self._waste = notes, waste
        self._limit = SilenceLimit(client.patience.first_token_s, deadline)
        self._retries_left = client.patience.retries

    async def open(self) -> ChunkStream:
        """A response whose first chunk has arrived."""
        patience = replace(self._client.patience, retries=self._retries_left)
        return await with_retries(self._attempt, patience, self._deadline)

    async def _attempt(self) -> ChunkStream:
        client = self._client
        try:
            return await hedged(
                lambda: client.open(self._progress, self._limit, self._notes),
                client.patience.hedge_after_s,
                ChunkStream.aclose,
                may_hedge=lambda: not client.gate.locked(),
                on_loser=self._count_loser,
            )
        except Fault:
            self._retries_left = max(0, self._retries_left - 1)
            raise

    def _count_loser(self) -> None:
        self._notes["hedged"] = self._notes.get("hedged", 0) + 1
        self._waste.add(self._progress.prompt_tokens, None, 0)

    async def prepare_to_resume(self, broken: Fault) -> None:
        """Count a broken response, and wait if the endpoint reported an error, such as an overload.

        Raises:
            Fault: more responses broke than ``retries`` allow.
        """
        progress, patience = self._progress, self._client.patience
        progress.broken_responses += 1
        if progress.broken_responses > patience.retries:
            message = f"{broken.message} (gave up after {progress.broken_responses} responses that broke)"
            raise Fault(message, status=broken.status) from broken
        self._notes["resumed"] = self._notes.get("resumed", 0) + 1
        if broken.status is not None:
            await _pause(patience, progress.broken_responses, self._deadline)


async def _pause(patience: Patience, failures: int, deadline: float) -> None:
    """Wait before the next request, as before a retry, but not beyond the deadline."""
    longest_s = min(patience.backoff_max_s, patience.backoff_s * 2 ** min(failures, 30))
    left_s = deadline - asyncio.get_running_loop().time()
    await asyncio.sleep(max(0.0, min(random.uniform(0, longest_s), left_s)))


async def fill_cache(client: LoopClient, progress: StreamProgress, deadline: float, waste: Waste) -> None:
    """Make the endpoint read the prompt into its cache, with a request whose tokens are discarded.

    There is only one attempt, and its error is ignored, because the following request will meet the same error.

    Args:
        client: sends the request.
        progress: a stream of one token.
        deadline: the event loop's time at which the request must be over.
        waste: counts the request.
    """
    usage = EngineUsage(progress.prompt_tokens)
    try:
        response = await client.open(progress, SilenceLimit(client.patience.first_token_s, deadline), {})
        async with aclosing(response):
            while (chunk := await progress.receive(response, {})).finish is None:
                pass
            usage = chunk.usage or usage
    except EngineError:
        pass
    finally:
        if progress.was_sent:
            waste.add(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens or 0)
