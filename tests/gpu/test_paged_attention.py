"""Our paged attention against transformers' own, in each layer of each step of ragged batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from transformers import AttentionInterface, Qwen3ForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from relay_core.engines.transformers import paged_attention
from testing.tiny_transformers import PROMPTS, collect, generate

#: of an output, in terms of the largest output of its layer and step
LARGEST_DIFFERENCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 5e-3}

#: of every layer of every step: tokens of each request, and the largest difference
Observed = list[tuple[list[int], float]]


def mask_of(query: torch.Tensor, ends_q: list[int], ends_k: list[int]) -> torch.Tensor:
    """True where a query sees a key: of the same request, and not after it; shape [1, 1, queries, keys]."""
    mask = torch.zeros(ends_q[-1], ends_k[-1], dtype=torch.bool, device=query.device)
    for (q, q_end), (k, k_end) in zip(pairwise(ends_q), pairwise(ends_k), strict=True):
        new, total = q_end - q, k_end - k
        mask[q:q_end, k:k_end] = torch.ones(new, total, dtype=torch.bool, device=query.device).tril(total - new)
    return mask[None, None]


@pytest.fixture
def observed() -> Iterator[Observed]:
    """Computes every attention both ways while an engine runs."""
    observations: Observed = []

    def both(module: Any, query: Any, key: Any, value: Any, mask: Any, **kwargs: Any) -> tuple[torch.Tensor, None]:
        ends_q, ends_k = kwargs["cu_seq_lens_q"].tolist(), kwargs["cu_seq_lens_k"]["full_attention"].tolist()
        cache = kwargs.pop("cache")
        keys, values = type(cache).update(cache, key, value, module.layer_idx, kwargs=dict(kwargs))
        expected, _ = sdpa_attention_forward(module, query, keys, values, mask_of(query, ends_q, ends_k), **kwargs)
        actual, _ = paged_attention.paged_attention(module, query, key, value, mask, cache=cache, **kwargs)
        tokens = [end - begin for begin, end in pairwise(ends_q)]
        difference = (actual.float() - expected.float()).abs().max() / expected.float().abs().max()
        observations.append((tokens, float(difference)))
        return actual, None

    AttentionInterface.register(paged_attention.NAME, both)
    yield observations
    AttentionInterface.register(paged_attention.NAME, paged_attention.paged_attention)


@pytest.mark.parametrize("dtype", LARGEST_DIFFERENCE, ids=str)
async def test_attention_is_transformers_own(
    model: Qwen3ForCausalLM, start_engine: Callable[..., Any], observed: Observed, dtype: torch.dtype
) -> None:
    engine = await start_engine(model.to(dtype), max_batch_tokens=32)
    await asyncio.gather(*[collect(engine, ids, 12 + 5 * i) for i, ids in enumerate([*PROMPTS, list(range(90))])])
    steps = [tokens for tokens, _ in observed]
    assert any(len(tokens) > 1 and max(tokens) == 1 for tokens in steps), "several requests decoded together"
    assert any(min(tokens) > 1 for tokens in steps), "a prompt was read alone"
    assert any(min(tokens) == 1 < max(tokens) for tokens in steps), "a request decoded while a prompt was read"
    assert max(difference for _, difference in observed) < LARGEST_DIFFERENCE[dtype]


async def test_greedy_is_generate(model: Qwen3ForCausalLM, start_engine: Callable[..., Any]) -> None:
    expected = [generate(model, ids) for ids in PROMPTS]
    engine = await start_engine(model)
    results = await asyncio.gather(*[collect(engine, ids) for ids in PROMPTS])
    assert [ids for ids, _, _ in results] == expected
