"""One stream of an endpoint, over as many responses as it takes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from relay_core.engines.base import Chunk, EngineUsage, Waste
from relay_core.engines.openai.faults import Fault
from relay_core.engines.openai.hedging import hedged
from relay_core.engines.openai.loop_client import LoopClient
from relay_core.engines.openai.protocol import APPROXIMATE, Mode
from relay_core.engines.openai.response import ChunkStream, SilenceLimit
from relay_core.engines.openai.resumption import StreamProgress
from relay_core.engines.openai.retries import with_retries
from relay_core.errors import EngineError


async def resumed(
    client: LoopClient, progress: StreamProgress, deadline: float, waste: Waste | None = None
) -> AsyncGenerator[Chunk, None]:
    """The chunks of one stream; when a response breaks, the rest is requested.

    Args:
        client: sends the requests.
        progress: what the stream has delivered so far.
        deadline: the loop's time at which the stream must be over.
        waste: counts the requests that lost against their hedge; ``None`` reports them with the chunks.
    """
    lost_hedges = Waste() if waste is None else waste
    notes: dict[str, Any] = {"approximate": APPROXIMATE} if progress.endpoint.mode is Mode.CHAT else {}
    limit = SilenceLimit(client.patience.first_token_s, deadline)

    def count_loser() -> None:
        notes["hedged"] = notes.get("hedged", 0) + 1
        lost_hedges.add(progress.prompt_tokens, None, 0)

    async def attempt() -> ChunkStream:
        return await hedged(
            lambda: client.open(progress, limit),
            client.patience.hedge_after_s,
            ChunkStream.aclose,
            may_hedge=lambda: not client.gate.locked(),
            on_loser=count_loser,
        )

    while True:
        response = await with_retries(attempt, client.patience, deadline)
        async with aclosing(response):
            while True:
                try:
                    chunk = await progress.receive(response, notes)
                except Fault as fault:  # the response broke: request the rest
                    client.breaker.record_failure(fault.message)
                    progress.broken_responses += 1
                    notes["resumed"] = notes.get("resumed", 0) + 1
                    break
                if waste is None and lost_hedges.requests:
                    chunk = replace(chunk, waste=replace(lost_hedges))
                yield chunk
                if chunk.finish is not None:
                    return


async def fill_cache(client: LoopClient, progress: StreamProgress, deadline: float, waste: Waste) -> None:
    """Make the endpoint read the prompt into its cache, by a request whose tokens are thrown away.

    There is one attempt, and its error is ignored: the request that follows will meet the same one.

    Args:
        client: sends the request.
        progress: a stream of one token.
        deadline: the loop's time at which the request must be over.
        waste: counts the request.
    """
    usage = EngineUsage(progress.prompt_tokens)
    try:
        response = await client.open(progress, SilenceLimit(client.patience.first_token_s, deadline))
        async with aclosing(response):
            while (chunk := await progress.receive(response, {})).finish is None:
                pass
            usage = chunk.usage or usage
    except EngineError:
        pass
    finally:
        if progress.was_sent:
            waste.add(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens or 0)
