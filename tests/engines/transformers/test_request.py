"""Streams: their limits, their end, and warming."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest
from transformers import Qwen3ForCausalLM

from relay_core.engines.base import Chunk, Finish, Prompt, Sampling, Warming, Waste
from relay_core.engines.transformers import TransformersEngine
from relay_core.engines.transformers.request import Request
from relay_core.errors import ContextOverflow
from relay_core.tokenizer import Tokenizer
from testing.tiny_transformers import PROMPTS, collect, generate


async def test_a_prompt_that_fills_the_context_is_refused_with_lengths(engine: TransformersEngine) -> None:
    await engine.start()
    assert engine.context_length == 256
    with pytest.raises(ContextOverflow, match=r"256 tokens.*256"):
        await collect(engine, [5] * 256)


async def test_a_full_context_ends_a_stream(engine: TransformersEngine) -> None:
    ids, last, _ = await collect(engine, [5, 6] * 125, 40)
    assert (len(ids), last.finish) == (6, Finish.LENGTH)


async def test_closing_a_stream_frees_its_request(engine: TransformersEngine) -> None:
    stream: AsyncGenerator[Chunk, None] = engine.stream(Prompt("", PROMPTS[0]), Sampling(200))
    await anext(stream)
    (request,) = engine._requests
    assert request.ticket is not None
    await stream.aclose()
    assert not engine._requests
    await collect(engine, PROMPTS[1], 3)  # after which the manager has processed the cancellation
    scheduler = engine._manager.scheduler  # type: ignore[union-attr]
    assert request.ticket.id not in scheduler.active_requests
    assert request.sampled_count < 200


async def test_a_slow_consumer_gets_several_tokens_at_once(engine: TransformersEngine) -> None:
    async with aclosing(engine.stream(Prompt("", PROMPTS[0]), Sampling(30))) as stream:
        chunks = [await anext(stream)]
        await collect(engine, PROMPTS[1], 60)  # by then the first stream has been written
        async for chunk in stream:
            chunks.append(chunk)
    assert sum(len(c.tokens) for c in chunks) == 30
    assert len(chunks) <= 3


@pytest.mark.parametrize(("at", "last"), [(0, 0), (1, 2), (2, 2), (3, 3)])
def test_a_stream_halts_at_the_end_of_a_character(tokenizer: Tokenizer, at: int, last: int) -> None:
    """``at``: the token at which ``halt`` first returns true; the tokens are three bytes of a character, and a."""
    ids = [*tokenizer.encode("一"), *tokenizer.encode("a")]
    assert len(ids) == 4
    loop = asyncio.new_event_loop()
    halts = lambda written, token: written == at  # noqa: E731
    request = Request(loop, tokenizer, [5, 6], Sampling(9, halt=halts), 9, frozenset())
    finishes = [request.accept(token_id, -1.0) for token_id in ids[: last + 1]]
    loop.close()
    assert finishes == [None] * last + [Finish.HALT]


# -- warming: begun before it is known how many tokens are wanted ------------------------------------------------


async def warmed(
    engine: TransformersEngine, ids: Sequence[int], n: int, most: int, *, late: bool
) -> tuple[list[int], Chunk, Waste]:
    """The ids, the last chunk and the waste of a warmed stream; ``late``: told n after writing ``most`` tokens."""
    waste = Waste()
    warming = Warming(waste)
    async with aclosing(engine.warm_stream(Prompt("", ids), Sampling(most), warming)) as stream:
        first = asyncio.ensure_future(anext(stream))
        while late and not (engine._requests and all(r.is_over for r in engine._requests)):
            await asyncio.sleep(0.001)
        assert not first.done()
        warming.want(n)
        chunk = await first
        got = [t.id for t in chunk.tokens]
        async for chunk in stream:
            got += [t.id for t in chunk.tokens]
    return got, chunk, waste


@pytest.mark.parametrize(("n", "most"), [(1, 30), (7, 30), (29, 30), (30, 30)])
async def test_a_warmed_stream_is_cut_at_n(
    engine: TransformersEngine, model: Qwen3ForCausalLM, n: int, most: int
) -> None:
    for late in (False, True):
        got, last, waste = await warmed(engine, PROMPTS[2], n, most, late=late)
        assert got == generate(model, PROMPTS[2], n)
        assert (last.finish, last.end_token) == (Finish.LENGTH, None)
        assert last.usage is not None
        assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (len(PROMPTS[2]), n)
        assert last.usage.cached_tokens is not None
        assert waste.requests == 0
        assert waste.tokens == most - n if late else waste.tokens <= most - n
    assert (await collect(engine, PROMPTS[2], 20))[0] == generate(model, PROMPTS[2], 20)


async def test_a_short_warmed_stream_ends_the_work_at_n(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
    engine = TransformersEngine(copy.deepcopy(model), tokenizer)
    try:
        _, _, waste = await warmed(engine, PROMPTS[0], 3, 150, late=False)
        assert waste.tokens <= 2, "the manager was cancelled at n"
        manager = engine._manager
        assert manager is not None
        while manager.scheduler.active_requests:
            await asyncio.sleep(0.001)
    finally:
        await engine.aclose()


async def test_an_end_token_beyond_n_does_not_end_the_stream(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
    ids = generate(model, PROMPTS[0], 12)
    end = next(k for k in range(1, 12) if ids[k] not in ids[:k])
    live = copy.deepcopy(model)
    live.generation_config.eos_token_id = ids[end]
    engine = TransformersEngine(live, tokenizer)
    try:
        got, last, waste = await warmed(engine, PROMPTS[0], end, 12, late=True)
        assert (got, last.finish, last.end_token, waste.tokens) == (ids[:end], Finish.LENGTH, None, 1)
        got, last, waste = await warmed(engine, PROMPTS[0], 12, 12, late=True)
        assert (got, last.finish, waste.tokens) == (ids[:end], Finish.END, 0)
        assert last.end_token is not None
    finally:
        await engine.aclose()


async def test_a_warmed_stream_that_is_dropped_is_counted(engine: TransformersEngine) -> None:
    waste = Waste()
    stream = engine.warm_stream(Prompt("", PROMPTS[1]), Sampling(150), Warming(waste))
    first = asyncio.ensure_future(anext(stream))
    while not (engine._requests and all(r.sampled_count for r in engine._requests)):
        await asyncio.sleep(0.001)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (waste.requests, waste.prompt_tokens) == (1, len(PROMPTS[1]))
    assert waste.tokens > 0
    assert not engine._requests
