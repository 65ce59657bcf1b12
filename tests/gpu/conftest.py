"""Tests of the engine on a GPU. RELAY_GPU_TESTS_DEVICE=cpu runs them on the CPU, as a rehearsal."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3ForCausalLM

from relay_core.engines.transformers import TransformersEngine
from relay_core.tokenizer import Tokenizer
from testing.tiny_transformers import make_model, make_tokenizer

DEVICE = os.environ.get("RELAY_GPU_TESTS_DEVICE", "cuda")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if DEVICE == "cuda" and not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def device() -> Iterator[str]:
    """The device under test; new tensors are on it while a test runs."""
    with torch.device(DEVICE):
        yield DEVICE


@pytest.fixture
def cuda(device: str) -> str:
    """The device, for tests that make no sense without CUDA."""
    if device != "cuda":
        pytest.skip("needs CUDA")
    return device


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return make_tokenizer()


@pytest.fixture
def model(device: str) -> Qwen3ForCausalLM:
    """A small random model in float32, with attention heads of a usual size."""
    return make_model(hidden_size=64, head_dim=64)


@pytest.fixture
async def start_engine(tokenizer: Tokenizer) -> AsyncIterator[Callable[..., Any]]:
    """Starts an engine of a model, with options; all are closed after the test."""
    async with AsyncExitStack() as stack:

        async def start(model: Qwen3ForCausalLM, **options: Any) -> TransformersEngine:
            engine = TransformersEngine(model, tokenizer, **options)
            stack.push_async_callback(engine.aclose)
            await engine.start()
            return engine

        yield start
