"""What the engine writes, against transformers' own ``generate`` and forward pass."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import torch
from transformers import Qwen3ForCausalLM

from relay_core.engines.base import Finish
from relay_core.engines.transformers import TransformersEngine
from relay_core.tokenizer import Tokenizer
from testing.tiny_transformers import PROMPTS, collect, generate, logprobs_of


async def test_greedy_is_generate(engine: TransformersEngine, model: Qwen3ForCausalLM) -> None:
    results = await asyncio.gather(*[collect(engine, ids) for ids in PROMPTS])
    for ids, (got, last, _) in zip(PROMPTS, results, strict=True):
        assert got == generate(model, ids)
        assert last.finish is Finish.LENGTH
        assert last.usage is not None
        assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (len(ids), 40)


async def test_greedy_is_the_same_in_several_requests(engine: TransformersEngine, model: Qwen3ForCausalLM) -> None:
    async def pieces(ids: list[int]) -> list[int]:
        written: list[int] = []
        while len(written) < 36:
            written += (await collect(engine, [*ids, *written], 6))[0]
        return written

    for ids, got in zip(PROMPTS, await asyncio.gather(*map(pieces, PROMPTS)), strict=True):
        assert got == generate(model, ids, 36)


async def test_a_prompt_longer_than_a_step_is_read_in_parts(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
    engine = TransformersEngine(copy.deepcopy(model), tokenizer, max_batch_tokens=16)
    try:
        results = await asyncio.gather(*[collect(engine, ids, 20) for ids in PROMPTS])
        assert [r[0] for r in results] == [generate(model, ids, 20) for ids in PROMPTS]
    finally:
        await engine.aclose()


async def test_more_requests_than_the_cache_holds(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
    engine = TransformersEngine(copy.deepcopy(model), tokenizer, cache_tokens=160)
    prompts = [[i, i + 1, i + 2] * 5 for i in range(10, 22)]
    try:
        results = await asyncio.gather(*[collect(engine, ids, 60) for ids in prompts])
        assert [r[0] for r in results] == [generate(model, ids, 60) for ids in prompts]
    finally:
        await engine.aclose()


async def test_text_is_what_the_tokenizer_decodes(engine: TransformersEngine, tokenizer: Tokenizer) -> None:
    for seed in range(3):
        ids, _, tokens = await collect(engine, PROMPTS[1], 60, temperature=1.5, seed=seed)
        text = "".join(t.text for t in tokens)
        whole = tokenizer.decode(ids)
        assert text == whole[: len(text)]
        assert set(whole[len(text) :]) <= {"\ufffd"}  # an incomplete character at the very end is held back


async def test_the_end_token_ends_the_stream_and_is_not_among_its_tokens(
    model: Qwen3ForCausalLM, tokenizer: Tokenizer
) -> None:
    whole = generate(model, PROMPTS[0])
    end = whole[9]
    own = copy.deepcopy(model)
    own.generation_config.eos_token_id = [end]
    engine = TransformersEngine(own, tokenizer)
    try:
        ids, last, _ = await collect(engine, PROMPTS[0])
    finally:
        await engine.aclose()
    assert ids == whole[: whole.index(end)]
    assert last.finish is Finish.END
    assert last.end_token is not None
    assert (last.end_token.id, last.end_token.text) == (end, "")
    assert last.end_token.logprob is not None


async def test_a_stop_string_ends_with_the_token_that_completes_it(
    engine: TransformersEngine, tokenizer: Tokenizer
) -> None:
    whole_ids, _, whole = await collect(engine, PROMPTS[0], 60, temperature=1.0, seed=1)
    texts = [t.text for t in whole]
    text = "".join(texts)
    for start, length in ((3, 1), (5, 3), (8, 6)):
        stop = text[start : start + length]
        ids, last, tokens = await collect(engine, PROMPTS[0], 60, temperature=1.0, seed=1, stop=("\0", stop))
        needed = next(n for n in range(len(texts) + 1) if stop in "".join(texts[:n]))
        assert ids == whole_ids[:needed]
        assert [t.text for t in tokens] == texts[:needed]
        assert last.finish is Finish.STOP


async def test_logprobs_are_the_forward_pass_before_temperature(
    engine: TransformersEngine, model: Qwen3ForCausalLM
) -> None:
    settings: list[dict[str, Any]] = [{}, {"temperature": 0.6}, {"temperature": 1.3, "top_k": 5}, {"temperature": 1.0}]
    results = await asyncio.gather(*[collect(engine, PROMPTS[2], 30, **s) for s in settings])
    for ids, _, tokens in results:
        expected = logprobs_of(model, PROMPTS[2], ids)[torch.arange(len(ids)), torch.tensor(ids)]
        torch.testing.assert_close(torch.tensor([t.logprob for t in tokens]), expected, atol=1e-4, rtol=1e-4)


async def test_every_request_of_a_batch_has_its_own_settings(
    engine: TransformersEngine, model: Qwen3ForCausalLM
) -> None:
    ids = PROMPTS[0]
    greedy, narrow_k, narrow_p, wide, short, cut_k, cut_p = await asyncio.gather(
        collect(engine, ids),
        collect(engine, ids, temperature=2.0, top_k=1),
        collect(engine, ids, temperature=2.0, top_p=1e-6),
        collect(engine, ids, temperature=5.0),
        collect(engine, ids, 7),
        collect(engine, ids, temperature=3.0, top_k=4),
        collect(engine, ids, temperature=1.0, top_p=0.5),
    )
    expected = generate(model, ids)
    assert greedy[0] == narrow_k[0] == narrow_p[0] == expected
    assert wide[0] != expected
    assert short[0] == expected[:7]
    ranks = (logprobs_of(model, ids, cut_k[0]).argsort(-1, descending=True).argsort(-1))[range(40), cut_k[0]]
    assert ranks.max() < 4
    assert len(set(ranks.tolist())) > 1
    probs, order = logprobs_of(model, ids, cut_p[0]).exp().sort(-1, descending=True)
    before = (probs.cumsum(-1) - probs).gather(-1, order.argsort(-1))[range(40), cut_p[0]]
    assert before.max() < 0.5 + 1e-4


async def test_a_bias_moves_the_choice_and_not_the_log_probabilities(
    engine: TransformersEngine, model: Qwen3ForCausalLM
) -> None:
    ids = PROMPTS[0]
    expected = generate(model, ids)
    raw = logprobs_of(model, ids, expected)
    first, second = raw[0].topk(2).indices.tolist()
    gap = (raw[0][first] - raw[0][second]).item()
    never, under, over, plain, beyond = await asyncio.gather(
        collect(engine, ids, logit_bias={first: -100, 299: -1}),
        collect(engine, ids, 1, logit_bias={first: -gap / 2}),
        collect(engine, ids, 1, logit_bias={second: gap * 2}, top_logprob=True),
        collect(engine, ids),
        collect(engine, ids, logit_bias={10**6: 100}),
    )
    assert first not in never[0] and plain[0] == beyond[0] == expected and under[0] == [first]
    assert over[0] == [second]
    token = over[2][0]
    torch.testing.assert_close(
        torch.tensor([token.logprob, token.top_logprob]), raw[0][[second, first]], atol=1e-4, rtol=1e-4
    )


async def test_sampling_draws_from_the_biased_distribution(engine: TransformersEngine, model: Qwen3ForCausalLM) -> None:
    logits = logprobs_of(model, PROMPTS[1], [0])[0]
    liked = int(logits.argmax())
    draws = await asyncio.gather(
        *[collect(engine, PROMPTS[1], 1, temperature=1.0, seed=i, logit_bias={liked: 2.0}) for i in range(300)]
    )
    logits[liked] += 2.0
    assert abs(sum(ids == [liked] for ids, _, _ in draws) / 300 - logits.softmax(-1)[liked]) < 0.1


async def test_samples_follow_the_distribution(engine: TransformersEngine, model: Qwen3ForCausalLM) -> None:
    draws = await asyncio.gather(*[collect(engine, PROMPTS[1], 1, temperature=0.5, seed=i) for i in range(600)])
    counts = torch.zeros(300)
    for ids, _, _ in draws:
        counts[ids[0]] += 1
    expected = (logprobs_of(model, PROMPTS[1], [0])[0] / 0.5).softmax(-1)
    assert (counts / 600 - expected).abs().max() < 0.1


async def test_a_seed_repeats_a_lone_request(engine: TransformersEngine) -> None:
    first, _, _ = await collect(engine, PROMPTS[0], temperature=1.0, seed=5)
    again, _, _ = await collect(engine, PROMPTS[0], temperature=1.0, seed=5)
    other, _, _ = await collect(engine, PROMPTS[0], temperature=1.0, seed=6)
    free, _, _ = await collect(engine, PROMPTS[0], temperature=1.0)
    assert first == again
    assert first not in (other, free)


async def test_the_users_random_state_is_left_alone(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
    engine = TransformersEngine(copy.deepcopy(model), tokenizer)
    state = torch.get_rng_state()
    try:
        await collect(engine, PROMPTS[0], 5, temperature=1.0)
        assert torch.equal(torch.get_rng_state(), state)
    finally:
        await engine.aclose()
