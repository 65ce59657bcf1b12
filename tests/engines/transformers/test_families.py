"""Random models of families with other attentions than Qwen3's: greedy tokens equal transformers' own."""

from __future__ import annotations

import asyncio
import copy
import logging
from typing import Any, NamedTuple

import pytest
import torch
import transformers
from transformers import PreTrainedModel

from relay_core import ConfigurationError, EngineError
from relay_core.engines.transformers import TransformersEngine, attention_setup, self_check
from relay_core.tokenizer import Tokenizer
from testing.tiny_transformers import PROMPTS, collect, generate, logprobs_of

WINDOW = 8  # every prompt is longer, except the second
PREFIX = [5 + (7 * i) % 90 for i in range(48)]  # three pages


class Family(NamedTuple):
    """A family's config and what is particular about its attention."""

    name: str
    options: dict[str, Any]
    reference: str = "sdpa"  # the attention of transformers that computes what the model's authors wrote


FAMILIES = [
    Family("Llama", {}),
    Family("Mistral", {"sliding_window": WINDOW}),
    Family("Phi3", {"sliding_window": WINDOW, "pad_token_id": 0}),
    Family("Starcoder2", {"sliding_window": WINDOW}),
    Family("Qwen2", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}),
    Family("Qwen3", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 2, "head_dim": 8}),
    Family("Gemma2", {"sliding_window": WINDOW, "attn_logit_softcapping": 5.0, "head_dim": 8}, "eager"),
    Family("Gemma3", {"sliding_window": WINDOW, "head_dim": 8, "query_pre_attn_scalar": 8}),
    Family("Cohere2", {"sliding_window": WINDOW}),
    Family("GptOss", {"sliding_window": WINDOW, "head_dim": 8, "num_local_experts": 4}, "eager"),
]


def make(family: Family, seed: int = 1) -> PreTrainedModel:
    """A random model of four layers in float32, whose weights are large enough for its answers to depend on context."""
    config_class = getattr(transformers, f"{family.name}TextConfig", None) or getattr(
        transformers, f"{family.name}Config"
    )
    sizes = {
        "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.3,
    }  # fmt: skip
    ends = dict.fromkeys(["bos_token_id", "eos_token_id", "pad_token_id"])
    torch.manual_seed(seed)
    model = getattr(transformers, f"{family.name}ForCausalLM")(config_class(**{**sizes, **ends, **family.options}))
    return model.eval()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
async def test_greedy_is_generate_and_prefixes_are_shared(family: Family, tokenizer: Tokenizer) -> None:
    model, plain = make(family), make(family)
    attention = model.config._attn_implementation
    plain.set_attn_implementation(family.reference)
    engine = TransformersEngine(model, tokenizer, max_batch_tokens=16)  # prompts are read in pieces
    try:
        for prompt, (ids, _, _) in zip(
            PROMPTS, await asyncio.gather(*[collect(engine, ids, 24) for ids in PROMPTS]), strict=True
        ):
            assert ids == generate(plain, prompt, 24)
        first, _, _ = await collect(engine, PREFIX, 12)
        assert first == generate(plain, PREFIX, 12)
        # a hand-over: the answer so far and some words of another author
        longer = [*PREFIX, *first, 33, 34, 35]
        second, last, tokens = await collect(engine, longer, 12)
        assert second == generate(plain, longer, 12)
        assert last.usage is not None and last.usage.cached_tokens == len(PREFIX)
        expected = logprobs_of(plain, longer, second)
        for row, token in zip(expected, tokens, strict=True):
            assert token.logprob == pytest.approx(float(row[token.id]), abs=2e-3)
        assert engine.describe()["shares_prefixes"]
        assert model.config._attn_implementation == attention, "a lent model is given back as it was"
    finally:
        await engine.aclose()


WINDOWED = Family("Mistral", {"sliding_window": WINDOW})


@pytest.mark.parametrize("name", ["Mistral", "Gemma2", "GptOss"])
async def test_the_self_check_passes_and_leaves_windows_as_they_were(
    name: str, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_check, "TESTED_VERSIONS", ("4.0",))
    monkeypatch.setattr(self_check, "_checked", set())
    model = make(next(family for family in FAMILIES if family.name == name))
    model.config.sliding_window = 100  # longer than the prompts of the check
    engine = TransformersEngine(model, tokenizer)
    try:
        await engine.start()
        assert len(self_check._checked) == 1 and model.config.sliding_window == 100
    finally:
        await engine.aclose()


async def test_a_class_with_windows_that_no_test_runs_is_checked(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_check, "TESTED_WINDOWS", ())
    monkeypatch.setattr(self_check, "_checked", set())
    model = make(WINDOWED)
    for layer in model.model.layers:  # a class that gives its attention another window than its config's
        layer.self_attn.config = copy.copy(layer.self_attn.config)
        layer.self_attn.config.sliding_window = 100
    engine = TransformersEngine(model, tokenizer)
    with pytest.raises(EngineError, match=r"MistralForCausalLM answers wrongly .* This class of model is not tested"):
        await engine.start()


async def test_a_model_that_shares_nothing_says_so_once(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(attention_setup, "install", lambda model: None)  # as for a model on flash attention
    engine = TransformersEngine(make(WINDOWED), tokenizer)
    try:
        with caplog.at_level(logging.WARNING, "relay_core"):
            for _ in range(2):
                await engine.start()
                _, last, _ = await collect(engine, PREFIX, 4)
                assert last.usage is not None and not last.usage.cached_tokens
                assert "each hand-over reads the whole context again" in engine.describe()["warning"]
                await engine.aclose()
        assert [record.levelname for record in caplog.records] == ["WARNING"]
    finally:
        await engine.aclose()


async def test_layers_that_cannot_be_served_are_named(tokenizer: Tokenizer) -> None:
    model = make(Family("Llama4", {"head_dim": 8, "num_local_experts": 2, "attention_chunk_size": 8}))
    with pytest.raises(ConfigurationError, match=r"layers of chunked_attention, which .* serve the model with vLLM"):
        await TransformersEngine(model, tokenizer).start()
