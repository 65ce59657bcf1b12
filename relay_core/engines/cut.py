"""A warmed stream, held back until it is known how many tokens are wanted, and cut there.

For engines that deliver token by token and cannot change what they have asked for.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from relay_core.engines.base import Chunk, EngineUsage, Finish, Sampling, Waste
from relay_core.errors import EngineError


async def cut(
    chunks: AsyncGenerator[Chunk, None], sampling: Sampling, prompt_tokens: int | None
) -> AsyncGenerator[Chunk, None]:
    """``chunks`` as they would be had ``sampling.max_tokens`` been what is wanted; what is too much is waste."""
    warming, waste = sampling.warming, sampling.waste or Waste()
    assert warming is not None
    came, sent, usage, failed = 0, 0, EngineUsage(prompt_tokens), False
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
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
        if warming.is_wanted:
            waste.tokens += came - sent
        elif not failed:
            waste.add(usage.prompt_tokens, usage.cached_tokens, came)
