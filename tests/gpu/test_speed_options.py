"""CUDA graphs and asynchronous batching change the speed and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from transformers import Qwen3ForCausalLM

from testing.tiny_transformers import PROMPTS, collect, generate


@pytest.mark.parametrize("option", ["async_batching", "cuda_graphs"])
async def test_answers_are_the_same(
    cuda: str, model: Qwen3ForCausalLM, start_engine: Callable[..., Any], option: str
) -> None:
    expected = [generate(model, ids) for ids in PROMPTS]
    async with asyncio.timeout(20):
        engine = await start_engine(model, **{option: True})
        for _ in range(2):  # a graph is captured in the first round and replayed in the second
            results = await asyncio.gather(*[collect(engine, ids) for ids in PROMPTS])
            assert [ids for ids, _, _ in results] == expected
        text = "".join(token.text for token in results[0][2])
        ids, last, _ = await collect(engine, PROMPTS[0], stop=(text[9:12],))
        assert last.finish == "stop"
        assert ids == expected[0][: len(ids)]
        sampled = [await collect(engine, PROMPTS[0], temperature=1.0, seed=seed) for seed in (5, 5, 6)]
        assert sampled[0][0] == sampled[1][0] != sampled[2][0]
