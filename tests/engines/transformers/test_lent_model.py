"""Models that the caller owns and changes: the cache, running requests, and the owner's state of the model."""

from __future__ import annotations

import copy
from contextlib import aclosing

import torch
from transformers import Qwen3ForCausalLM

from relay_core.engines.base import Prompt, Sampling
from relay_core.engines.transformers import TransformersEngine
from relay_core.engines.transformers.lent_model import LentModel
from relay_core.tokenizer import Tokenizer
from testing.tiny_transformers import PROMPTS, collect, generate, make_model


async def test_prefixes_are_shared_until_the_weights_change(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
    live = copy.deepcopy(model)
    engine = TransformersEngine(live, tokenizer)
    ids = PROMPTS[2]
    try:
        assert (await collect(engine, ids))[1].usage.cached_tokens == 0  # type: ignore[union-attr]
        assert (await collect(engine, ids))[1].usage.cached_tokens == 32  # type: ignore[union-attr]
        with engine.paused(), torch.no_grad():
            for parameter in live.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        got, last, _ = await collect(engine, ids)
        assert last.usage.cached_tokens == 0  # type: ignore[union-attr]
        assert got == generate(live, ids) != generate(model, ids)
        engine.weights_changed()
        assert (await collect(engine, ids))[1].usage.cached_tokens == 0  # type: ignore[union-attr]
    finally:
        await engine.aclose()


async def test_a_running_request_continues_with_the_changed_weights(
    model: Qwen3ForCausalLM, tokenizer: Tokenizer
) -> None:
    live, other = copy.deepcopy(model), make_model(seed=1)
    engine = TransformersEngine(live, tokenizer)
    ids, written = PROMPTS[2], list[int]()
    try:
        async with aclosing(engine.stream(Prompt("", ids), Sampling(60))) as stream:
            async for chunk in stream:
                written += [int(t.id or 0) for t in chunk.tokens]
                if len(written) >= 10:
                    break
            with engine.paused():
                live.load_state_dict(other.state_dict())
                (request,) = engine._requests
                cut = request.sampled_count
            async for chunk in stream:
                written += [int(t.id or 0) for t in chunk.tokens]
    finally:
        await engine.aclose()
    assert written[:cut] == generate(model, ids, cut)
    assert written[cut:] == generate(other, [*ids, *written[:cut]], 60 - cut)


async def test_a_lent_model_is_in_its_owners_state_between_requests(
    model: Qwen3ForCausalLM, tokenizer: Tokenizer
) -> None:
    live = copy.deepcopy(model)
    live.train()
    engine = TransformersEngine(live, tokenizer)
    try:
        async with aclosing(engine.stream(Prompt("", PROMPTS[0]), Sampling(100))) as stream:
            await anext(stream)
            assert not live.training
            with engine.paused():
                assert live.training
                assert live.config._attn_implementation == "sdpa"
        assert live.training
        assert live.config._attn_implementation == "sdpa"
        padded = torch.tensor([[1, 2, 3, 4], [0, 0, 5, 6]])
        mask = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])
        live(padded, attention_mask=mask, labels=padded).loss.backward()
        model_loss = model(padded, attention_mask=mask, labels=padded).loss
        torch.testing.assert_close(live(padded, attention_mask=mask, labels=padded).loss, model_loss)
        assert all(p.grad is not None for p in live.parameters())
    finally:
        await engine.aclose()
    assert live.training


def test_borrowing_and_handing_back_twice_keeps_the_owners_state(model: Qwen3ForCausalLM) -> None:
    lent = LentModel(copy.deepcopy(model).train())
    with lent.starting():
        lent.model.eval()
        lent.model.set_attn_implementation("eager")
    for _ in range(2):
        for _ in range(2):
            lent.borrow()
            assert (lent.model.training, lent.model.config._attn_implementation) == (False, "eager")
        for _ in range(2):
            lent.hand_back()
            assert (lent.model.training, lent.model.config._attn_implementation) == (True, "sdpa")
