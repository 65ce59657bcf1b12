"""A tiny random model in float32, its tokenizer, and one engine for each test module."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator

import pytest
from transformers import Qwen3ForCausalLM

from relay_core.engines.transformers import TransformersEngine
from relay_core.tokenizer import Tokenizer
from testing.tiny_transformers import make_model, make_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return make_tokenizer()


@pytest.fixture(scope="module")
def model() -> Qwen3ForCausalLM:
    return make_model()


@pytest.fixture(scope="module")
def engine(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> Iterator[TransformersEngine]:
    """One engine for a module's tests, each of which runs on an event loop of its own."""
    engine = TransformersEngine(copy.deepcopy(model), tokenizer)
    yield engine
    asyncio.run(engine.aclose())
