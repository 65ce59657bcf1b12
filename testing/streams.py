"""Reading an engine's stream to its end."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing

from relay_core.engines.base import Chunk, Engine, Prompt, Sampling, Token, Warming


async def collect(
    engine: Engine, prompt: Prompt, sampling: Sampling, warming: Warming | None = None
) -> tuple[list[Token], Chunk]:
    """All tokens of one stream, and its last chunk; with ``warming``, of a warmed stream."""
    chunks = engine.stream(prompt, sampling) if warming is None else engine.warm_stream(prompt, sampling, warming)
    tokens: list[Token] = []
    async with aclosing(chunks):
        async for chunk in chunks:
            tokens += chunk.tokens
    return tokens, chunk


def text_of(tokens: Iterable[Token]) -> str:
    """The tokens' text, joined."""
    return "".join(token.text for token in tokens)
