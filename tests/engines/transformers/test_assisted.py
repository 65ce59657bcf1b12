"""A model with a draft: its own answers, counts that are those of its forward passes, and nothing left behind."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig, Qwen3ForCausalLM

from relay_core import ConfigurationError, EngineError
from relay_core.engines.sampling import Sampling
from relay_core.engines.transformers import TransformersEngine, assisted
from relay_core.engines.transformers.assisted import Assisted, Pair
from relay_core.tokenizer import Tokenizer
from testing.tiny_transformers import generate, make_model


def never(ids: Sequence[int]) -> bool:
    return False


async def pair_of(model: Qwen3ForCausalLM, draft: Qwen3ForCausalLM, tokenizer: Tokenizer) -> tuple[Pair, list]:
    engines = [TransformersEngine(m, tokenizer) for m in (model, draft)]
    return Pair(*[await engine.plain() for engine in engines], ahead=5), engines


def perturbed(model: Qwen3ForCausalLM, by: float) -> Qwen3ForCausalLM:
    """A model that often agrees with another one."""
    draft = copy.deepcopy(model)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in draft.parameters():
            weight += by * torch.randn_like(weight) * weight.std()
    return draft


@pytest.fixture(scope="module")
def drafted(model: Qwen3ForCausalLM, tokenizer: Tokenizer):
    import asyncio

    own, draft = copy.deepcopy(model), perturbed(model, 0.1)
    pair, engines = asyncio.run(pair_of(own, draft, tokenizer))
    yield pair, own, draft
    for engine in engines:
        asyncio.run(engine.aclose())


@settings(max_examples=8)
@given(prompt=st.lists(st.integers(0, 299), min_size=1, max_size=30), n=st.integers(1, 25))
def test_greedy_answers_are_the_models_own_and_every_place_is_counted(drafted, prompt: list[int], n: int) -> None:
    pair, own, draft = drafted
    passes: dict[str, list[int]] = {"model": [], "draft": []}
    handles = [
        m.model.register_forward_hook(lambda module, args, out, name=name: passes[name].append(out[0].shape[1]))
        for name, m in (("model", own), ("draft", draft))
    ]
    answer = pair.write(prompt, Sampling(n), never)
    for handle in handles:
        handle.remove()
    assert answer.ids == generate(own, prompt, n)
    assert answer.verified == sum(passes["model"]) - (len(prompt) - 1) >= len(answer.ids)
    assert answer.drafted == len(passes["draft"]) and answer.draft_prompt == (passes["draft"] or [0])[0]
    assert answer.draft_prompt == (len(prompt) if n > 1 else 0)


def test_a_good_draft_is_kept_and_a_bad_one_refused(drafted, model: Qwen3ForCausalLM) -> None:
    pair, _, _ = drafted
    answer = pair.write([7, 8, 9], Sampling(40), never)
    assert answer.drafted > 10
    assert answer.verified - len(answer.ids) < answer.drafted, "some of its tokens were kept"


async def test_sampling_is_seeded_has_the_models_distribution_and_leaves_torchs_state(drafted) -> None:
    """The first two tokens of seeded answers against the model's own probabilities."""
    pair, own, _ = drafted
    state = torch.random.get_rng_state()
    prompt, runs = [5, 6, 7], 120
    answers = [pair.write(prompt, Sampling(3, 1.0, top_k=3, seed=seed), never).ids for seed in range(runs)]
    assert answers[:5] == [pair.write(prompt, Sampling(3, 1.0, top_k=3, seed=seed), never).ids for seed in range(5)]
    assert torch.equal(state, torch.random.get_rng_state())
    with torch.no_grad():
        first = own(torch.tensor([prompt])).logits[0, -1].topk(3)
        shares = first.values.softmax(-1)
        likeliest = int(first.indices[0])
        second = own(torch.tensor([[*prompt, likeliest]])).logits[0, -1].topk(3)
    for places, indices, expected in (
        ([ids[0] for ids in answers], first.indices, shares),
        ([ids[1] for ids in answers if ids[0] == likeliest], second.indices, second.values.softmax(-1)),
    ):
        assert set(places) <= set(indices.tolist())
        for index, share in zip(indices.tolist(), expected.tolist(), strict=True):
            spread = (share * (1 - share) / len(places)) ** 0.5
            assert abs(places.count(index) / len(places) - share) < 4 * spread + 1e-9


async def test_an_answer_ends_where_it_is_told_to_and_the_models_stay_as_they_were(drafted) -> None:
    pair, own, draft = drafted
    own.generation_config = GenerationConfig(repetition_penalty=5.0, do_sample=True, top_k=2)
    before = [(m.generation_config, m.config._attn_implementation, m.training) for m in (own, draft)]
    seen: list[int] = []

    def is_over(ids: Sequence[int]) -> bool:
        seen.append(len(ids))
        return len(ids) >= 5

    answer = pair.write([1, 2, 3], Sampling(60), is_over)
    assert 5 <= len(answer.ids) < 60 and seen == sorted(seen)
    assert [(m.generation_config, m.config._attn_implementation, m.training) for m in (own, draft)] == before
    assert not own._forward_pre_hooks and not draft._forward_pre_hooks
    own.generation_config = GenerationConfig()
    assert answer.ids == generate(own, [1, 2, 3], 60)[: len(answer.ids)], "no penalty, and greedy"


async def test_what_is_no_pair_is_refused_and_a_failure_is_ours(
    engine: TransformersEngine, model: Qwen3ForCausalLM, tokenizer: Tokenizer, qwen3: Tokenizer, monkeypatch
) -> None:
    plain = await engine.plain()
    with pytest.raises(ConfigurationError, match="cannot be its own draft"):
        Pair(plain, plain, ahead=5)
    other = TransformersEngine(make_model(1), qwen3)
    try:
        with pytest.raises(ConfigurationError, match="differ and both have 300 entries"):
            Pair(plain, await other.plain(), ahead=5)
    finally:
        await other.aclose()
    pair, engines = await pair_of(copy.deepcopy(model), make_model(2), tokenizer)
    monkeypatch.setattr(assisted, "DRAFT", {"assistant_confidence_threshold": "much"})
    try:
        with pytest.raises(EngineError, match="assisted generation failed: "):
            pair.write([1, 2], Sampling(5), never)
        monkeypatch.undo()
        assert isinstance(pair.write([1, 2], Sampling(5), never), Assisted)
    finally:
        for each in engines:
            await each.aclose()
