"""Sampling, cancelling, and weights that change, on the device."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import torch
from transformers import Qwen3ForCausalLM

from relay_core.engines.base import Prompt, Sampling
from testing.tiny_transformers import PROMPTS, collect, generate, logprobs_of

DRAWS = 600


async def test_each_request_of_a_batch_has_its_own_settings(
    model: Qwen3ForCausalLM, start_engine: Callable[..., Any]
) -> None:
    engine, ids = await start_engine(model), PROMPTS[0]
    greedy, narrow_k, narrow_p, wide, short, top_4 = await asyncio.gather(
        collect(engine, ids),
        collect(engine, ids, temperature=2.0, top_k=1),
        collect(engine, ids, temperature=2.0, top_p=1e-6),
        collect(engine, ids, temperature=5.0),
        collect(engine, ids, 7),
        collect(engine, ids, temperature=3.0, top_k=4),
    )
    expected = generate(model, ids)
    assert greedy[0] == narrow_k[0] == narrow_p[0] == expected
    assert wide[0] != expected
    assert short[0] == expected[:7]
    logprobs = logprobs_of(model, ids, top_4[0])
    ranks = logprobs.argsort(-1, descending=True).argsort(-1)[range(40), top_4[0]]
    assert ranks.max() < 4
    for sampled in (greedy, wide):
        logprobs = logprobs_of(model, ids, sampled[0])[range(40), sampled[0]]
        torch.testing.assert_close(torch.tensor([t.logprob for t in sampled[2]]), logprobs, atol=1e-3, rtol=1e-3)


async def test_samples_follow_the_distribution(model: Qwen3ForCausalLM, start_engine: Callable[..., Any]) -> None:
    engine, ids = await start_engine(model), PROMPTS[1]
    draws = await asyncio.gather(*[collect(engine, ids, 1, temperature=0.5, seed=seed) for seed in range(DRAWS)])
    counts = torch.zeros(300)
    for sampled, _, _ in draws:
        counts[sampled[0]] += 1
    expected = (logprobs_of(model, ids, [0])[0] / 0.5).softmax(-1)
    assert (counts / DRAWS - expected).abs().max() < 0.1


async def test_a_seed_repeats_a_lone_request(model: Qwen3ForCausalLM, start_engine: Callable[..., Any]) -> None:
    engine = await start_engine(model)
    first, again, other = [(await collect(engine, PROMPTS[0], temperature=1.0, seed=seed))[0] for seed in (5, 5, 6)]
    assert first == again != other


async def test_stop_strings_end_a_stream(model: Qwen3ForCausalLM, start_engine: Callable[..., Any]) -> None:
    engine = await start_engine(model)
    _, _, tokens = await collect(engine, PROMPTS[0])
    text = "".join(token.text for token in tokens)
    stopped = await asyncio.gather(*[collect(engine, PROMPTS[0], stop=(text[i : i + 3],)) for i in (2, 9, 14)])
    for (_, last, seen), i in zip(stopped, (2, 9, 14), strict=True):
        assert last.finish == "stop"
        assert text[i : i + 3] in "".join(token.text for token in seen)
        assert text[i : i + 3] not in "".join(token.text for token in seen[:-1])


async def test_a_cancelled_stream_frees_its_request(model: Qwen3ForCausalLM, start_engine: Callable[..., Any]) -> None:
    engine = await start_engine(model)
    streams = [engine.stream(Prompt("", ids), Sampling(200)) for ids in PROMPTS]
    for stream in streams:
        await anext(stream)
    other = asyncio.ensure_future(collect(engine, [5, 6, 7], 30))
    for stream in streams:
        await stream.aclose()
    assert (await other)[0] == generate(model, [5, 6, 7], 30)
    async with asyncio.timeout(20):
        while engine._manager.scheduler.active_requests:
            await asyncio.sleep(0.01)
    assert (await collect(engine, PROMPTS[2]))[0] == generate(model, PROMPTS[2])


async def test_new_weights_drop_the_prefix_cache(model: Qwen3ForCausalLM, start_engine: Callable[..., Any]) -> None:
    engine, ids = await start_engine(model), PROMPTS[2]
    before = generate(model, ids)
    usages = [(await collect(engine, ids))[1].usage for _ in range(2)]
    assert [usage and usage.cached_tokens for usage in usages] == [0, 32]
    with engine.paused(), torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    written, last, _ = await collect(engine, ids)
    assert last.usage is not None and last.usage.cached_tokens == 0
    assert written == generate(model, ids) != before
