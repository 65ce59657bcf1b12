"""A text that is read back, against transformers' own forward pass and against what the engine says while it writes."""

from __future__ import annotations

import asyncio
import copy
import math
from pathlib import Path

import pytest
import torch
from transformers import Qwen3ForCausalLM

from relay_core import ContextOverflow, EngineError
from relay_core.engines.transformers import TransformersEngine
from relay_core.engines.transformers.head import FEATURES, Head, facts_of, load_head
from relay_core.tokenizer import Tokenizer
from testing.tiny_transformers import PROMPTS, collect, generate, logprobs_of

TEXT = [5, 9, 200, 31, 31, 77]


async def test_it_is_the_models_own_forward_pass(
    model: Qwen3ForCausalLM, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay_core.engines.transformers.reading._ROWS", 4)  # in several pieces
    own = copy.deepcopy(model)
    own.generation_config.eos_token_id = [12, 50]
    engine = TransformersEngine(own, tokenizer)
    try:
        reading = await engine.read(PROMPTS[0], TEXT)
        attention = own.config._attn_implementation
        again = await engine.read(PROMPTS[0], TEXT)
        without = await engine.read(PROMPTS[0], TEXT, inputs=False)
    finally:
        await engine.aclose()
    expected = logprobs_of(model, PROMPTS[0], [*TEXT, 0])
    torch.testing.assert_close(reading.logprobs, expected[range(6), TEXT], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(reading.top_logprobs, expected[:-1].amax(-1), atol=1e-4, rtol=1e-4)
    assert reading.end_gap == pytest.approx(float(expected[-1].max() - expected[-1, [12, 50]].max()), abs=1e-3)
    assert reading.inputs.shape == (6, 32 + len(FEATURES)) and torch.equal(again.inputs, reading.inputs)
    assert without.inputs is None and without.end_gap == reading.end_gap
    assert torch.equal(without.logprobs, reading.logprobs) and torch.equal(without.top_logprobs, reading.top_logprobs)
    assert reading.facts == facts_of(model)
    assert own.config._attn_implementation == attention and not own.lm_head._forward_pre_hooks


async def test_a_model_without_an_end_token_never_ends(engine: TransformersEngine) -> None:
    assert (await engine.read(PROMPTS[0], TEXT)).end_gap == math.inf


async def test_a_head_reads_the_same_while_the_engine_writes(engine: TransformersEngine, tmp_path: Path) -> None:
    facts = facts_of(engine._model)  # type: ignore[arg-type]
    torch.manual_seed(1)
    size = 32 + len(FEATURES)
    Head(torch.randn(size) / 9, torch.randn(1), torch.randn(size), torch.rand(size) + 0.5, facts).save(tmp_path)
    ids, _, tokens = await collect(engine, PROMPTS[2], 25, head=str(tmp_path), temperature=0.9)
    reading = await engine.read(PROMPTS[2], ids)
    given = torch.tensor([token.head_probability for token in tokens])
    torch.testing.assert_close(given, load_head(tmp_path).probabilities(reading.inputs), atol=1e-4, rtol=1e-3)


async def test_requests_that_run_meanwhile_wait_and_are_not_changed(
    engine: TransformersEngine, model: Qwen3ForCausalLM
) -> None:
    answers = [asyncio.create_task(collect(engine, ids, 40)) for ids in PROMPTS]
    readings = await asyncio.gather(*[engine.read(PROMPTS[1], TEXT) for _ in range(4)])
    for ids, answer in zip(PROMPTS, await asyncio.gather(*answers), strict=True):
        assert answer[0] == generate(model, ids)
    assert all(torch.equal(reading.inputs, readings[0].inputs) for reading in readings)


async def test_the_callers_model_keeps_its_mode(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
    own = copy.deepcopy(model).train()
    engine, attention = TransformersEngine(own, tokenizer), own.config._attn_implementation
    try:
        await engine.read(PROMPTS[0], TEXT)
        assert own.training and own.config._attn_implementation == attention
    finally:
        await engine.aclose()


async def test_what_cannot_be_read_is_an_error(engine: TransformersEngine) -> None:
    with pytest.raises(ContextOverflow, match="the text has 257 tokens, the context is 256"):
        await engine.read([5] * 250, [6] * 7)
    with pytest.raises(EngineError, match="the model's ids are below 300"):
        await engine.read([5], [300])
