"""Memory: caches beside other programs and other engines, and what happens when there is too little."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from transformers import Qwen3ForCausalLM

from relay_core.engines.transformers import TransformersEngine
from relay_core.engines.transformers.footprint import footprint_of_model
from relay_core.errors import EngineError
from relay_core.tokenizer import Tokenizer
from testing.tiny_transformers import PROMPTS, collect, generate, make_model

LEFT_GIB = 4
HOG = f"""
import torch
free, _ = torch.cuda.mem_get_info()
held = torch.empty(free - {LEFT_GIB} * 2**30, dtype=torch.uint8, device="cuda")
held.zero_()
print("holding", flush=True)
input()
"""


@pytest.fixture
def other_program(cuda: str) -> Iterator[None]:
    """Another program holds all of the device's memory but some GiB."""
    process = subprocess.Popen([sys.executable, "-c", HOG], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "holding"
    yield
    process.communicate("\n", timeout=60)


async def test_the_cache_fits_beside_another_program(
    cuda: str, other_program: None, start_engine: Callable[..., Any]
) -> None:
    model = make_model(num_hidden_layers=32, num_key_value_heads=8, num_attention_heads=8, head_dim=128)
    assert 65_536 * footprint_of_model(model).token > LEFT_GIB * 2**30, "the test's model wants too little"
    before = torch.cuda.memory_allocated()
    engine = await start_engine(model)
    assert torch.cuda.memory_allocated() - before < 0.75 * LEFT_GIB * 2**30
    assert (await collect(engine, PROMPTS[0]))[0] == generate(model, PROMPTS[0])


async def test_two_engines_share_the_device(device: str, start_engine: Callable[..., Any]) -> None:
    models = [make_model(seed) for seed in (0, 1)]
    expected = [[generate(model, ids) for ids in PROMPTS] for model in models]
    engines = [await start_engine(model) for model in models]
    results = await asyncio.gather(*[collect(engine, ids) for engine in engines for ids in PROMPTS])
    assert [ids for ids, _, _ in results] == [ids for answers in expected for ids in answers]


async def test_a_cache_that_is_too_large_names_the_option(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
    engine = TransformersEngine(model, tokenizer, cache_tokens=10**12)
    with pytest.raises(EngineError, match="cache_gib"):
        await engine.start()
    await engine.aclose()
    engine = TransformersEngine(model, tokenizer)
    try:
        assert (await collect(engine, PROMPTS[1]))[0] == generate(model, PROMPTS[1])
    finally:
        await engine.aclose()


async def test_running_out_of_memory_names_the_option(
    model: Qwen3ForCausalLM, start_engine: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await start_engine(model)

    def out_of_memory(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with monkeypatch.context() as patch:
        patch.setattr(model, "forward", out_of_memory)
        with pytest.raises(EngineError, match="cache_gib"):
            await collect(engine, PROMPTS[0])
    assert (await collect(engine, PROMPTS[1]))[0] == generate(model, PROMPTS[1])
