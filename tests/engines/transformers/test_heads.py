"""Heads in a batch, against the hidden states and distributions of transformers' own forward pass."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import transformers
from transformers import PreTrainedModel, Qwen3ForCausalLM

from relay_core import ConfigurationError, EngineError, Hidden, Relay, ScriptedEngine
from relay_core.engines.base import Finish
from relay_core.engines.transformers import TransformersEngine
from relay_core.engines.transformers.head import FEATURES, Head, Layer, facts_of, load_head
from relay_core.engines.transformers.heads import LastHidden
from relay_core.tokenizer import Tokenizer
from testing.tiny_transformers import PROMPTS, collect, make_model, make_tokenizer


def make_head(model: PreTrainedModel, seed: int, folder: Path, units: int = 0) -> str:
    """A random head of a model, in a folder; with ``units``, one of two layers."""
    torch.manual_seed(seed)
    size = facts_of(model)["hidden_size"] + len(FEATURES)
    values = 0.1 * torch.randn(units or size), torch.randn(1), torch.randn(size), torch.rand(size) + 0.5
    layer = Layer(torch.randn(units, size), torch.randn(units)) if units else None
    Head(*values, student=facts_of(model), layer=layer).save(folder / str(seed))
    return str(folder / str(seed))


def expected(model: PreTrainedModel, folder: str, prompt: Sequence[int], ids: Sequence[int]) -> torch.Tensor:
    """The head's probability at each of ``ids``, from a plain forward pass."""
    head = load_head(folder)
    with torch.no_grad():
        out = model(torch.tensor([[*prompt, *ids]]), output_hidden_states=True)
    places = slice(len(prompt) - 1, -1)
    hidden, logprobs = out.hidden_states[-1][0, places], out.logits[0, places].log_softmax(-1)
    p = logprobs.exp()
    two = p.sort(-1, descending=True).values[:, :2]
    own = logprobs[range(len(ids)), list(ids)]
    features = torch.stack([two[:, 0], -(p * logprobs).sum(-1), two[:, 0] - two[:, 1], own], -1)
    values = (torch.cat([hidden, features], -1) - head.mean) / head.scale
    if head.layer is not None:
        values = torch.nn.functional.linear(values, head.layer.weight, head.layer.bias).clamp_min(0)
    return torch.sigmoid(values @ head.weight + head.bias)


def check(model: PreTrainedModel, folder: str | None, prompt: Sequence[int], answer) -> None:
    ids, _, tokens = answer
    given = [token.head_probability for token in tokens]
    if folder is None:
        assert given == [None] * len(ids)
    else:
        torch.testing.assert_close(torch.tensor(given), expected(model, folder, prompt, ids), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("max_batch_tokens", [16, 512])
async def test_every_request_of_a_batch_has_its_own_head(
    model: Qwen3ForCausalLM, tokenizer: Tokenizer, tmp_path: Path, max_batch_tokens: int
) -> None:
    """Prompts are read in pieces (of 16 tokens), a prefix is shared, requests begin and end at different steps."""
    engine = TransformersEngine(copy.deepcopy(model), tokenizer, max_batch_tokens=max_batch_tokens)
    heads = [make_head(model, 1, tmp_path), make_head(model, 2, tmp_path, units=7)]
    plans = [
        (prompt, heads[i % 3] if i % 3 < 2 else None, 5 + 7 * i, 0.8 * (i % 2))
        for i, prompt in enumerate([*PROMPTS, PROMPTS[0][:20], [*PROMPTS[2], 60, 61], [90, 91], PROMPTS[2]])
    ]
    try:
        for _ in range(2):  # the second time, whole prompts are in the cache
            answers = await asyncio.gather(
                *[collect(engine, ids, n, head=head, temperature=t) for ids, head, n, t in plans]
            )
            for (prompt, head, n, _), answer in zip(plans, answers, strict=True):
                assert len(answer[0]) == n
                check(model, head, prompt, answer)
        longer = [*PROMPTS[2], *answers[2][0], 33]
        answer = await collect(engine, longer, 9, head=heads[1])
        assert answer[1].usage.cached_tokens >= 32
        check(model, heads[1], longer, answer)
    finally:
        await engine.aclose()


@pytest.mark.parametrize("name", ["Cohere", "Gemma2", "Gemma3Text"])
async def test_the_hidden_state_is_what_the_output_embedding_reads(
    name: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """Cohere scales the logits behind it, Gemma 2 caps them: the features see that, the hidden state does not."""
    torch.manual_seed(3)
    sizes = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8,
             "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256}  # fmt: skip
    ends = dict.fromkeys(["bos_token_id", "eos_token_id", "pad_token_id"])
    config = getattr(transformers, f"{name}Config")(**sizes, **ends, initializer_range=0.3)
    model = getattr(transformers, f"{name.removesuffix('Text')}ForCausalLM")(config).eval()
    plain = copy.deepcopy(model)
    plain.set_attn_implementation("eager")
    head = make_head(model, 1, tmp_path)
    engine = TransformersEngine(model, tokenizer)
    try:
        for prompt, answer in zip(
            PROMPTS, await asyncio.gather(*[collect(engine, ids, 12, head=head) for ids in PROMPTS]), strict=True
        ):
            check(plain, head, prompt, answer)
    finally:
        await engine.aclose()


async def test_the_engine_ends_the_stream_where_the_head_calls(
    engine: TransformersEngine, model: Qwen3ForCausalLM, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    head = make_head(model, 4, tmp_path)
    ids, _, tokens = await collect(engine, PROMPTS[0], 30, head=head)
    given = [t.head_probability for t in tokens]
    above = sorted(given)[-3]
    first = next(i for i, probability in enumerate(given) if probability > above)
    assert given[0] <= above
    halt = Hidden(head, above).decider(None).halt(None)
    halted, last, _ = await collect(engine, PROMPTS[0], 30, head=head, halt=halt)
    assert (halted, last.finish) == (ids[: first + 1], Finish.HALT)


def test_a_relay_calls_where_the_head_says(model: Qwen3ForCausalLM, tmp_path: Path) -> None:
    head, talks = make_head(model, 4, tmp_path), make_tokenizer()
    talks.hf.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    teacher = ScriptedEngine("and", talks)
    with Relay(TransformersEngine(copy.deepcopy(model), talks), teacher) as relay:
        free = relay.generate("Hi", trigger=Hidden(head, 1 - 1e-9), max_tokens=20)
        calls = relay.generate(
            "Hi", trigger=f"hidden:{head},0,2", max_tokens=20, max_calls=2, on_teacher_stop="continue"
        )
    assert free.usage.calls == 0 and free.usage.completion_tokens == 20
    assert calls.usage.calls == 2 and calls.usage.discarded_tokens == 2
    assert calls.text.startswith(2 * talks.decode(talks.encode("and")[:2]))


async def test_a_constraint_does_not_change_what_the_head_reads(
    engine: TransformersEngine, model: Qwen3ForCausalLM, tmp_path: Path
) -> None:
    head = make_head(model, 5, tmp_path)
    answer = await collect(engine, PROMPTS[1], 12, head=head, regex="[a-z ]{12,}")
    assert len(answer[0]) > 3
    check(model, head, PROMPTS[1], answer)


async def test_nothing_stays_in_the_model(model: Qwen3ForCausalLM, tokenizer: Tokenizer, tmp_path: Path) -> None:
    own, registered = copy.deepcopy(model), []
    register = own.lm_head.register_forward_pre_hook
    own.lm_head.register_forward_pre_hook = lambda *a, **k: registered.append(1) or register(*a, **k)
    engine, head = TransformersEngine(own, tokenizer), make_head(model, 6, tmp_path)
    try:
        await collect(engine, PROMPTS[0], 8)
        assert not registered, "without a head, nothing is done"
        await asyncio.gather(collect(engine, PROMPTS[0], 8, head=head), collect(engine, PROMPTS[1], 40))
        assert len(registered) == 8, "one for each step with a head"
        assert not own.lm_head._forward_pre_hooks
    finally:
        await engine.aclose()


async def test_a_model_without_the_layer_fails_its_requests_with_a_head_only(
    model: Qwen3ForCausalLM, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LastHidden, "take", lambda self: None)
    engine, head = TransformersEngine(copy.deepcopy(model), tokenizer), make_head(model, 7, tmp_path)
    try:
        failed, fine = await asyncio.gather(
            collect(engine, PROMPTS[0], 8, head=head), collect(engine, PROMPTS[1], 8), return_exceptions=True
        )
    finally:
        await engine.aclose()
    assert isinstance(failed, EngineError) and "read none of the" in str(failed)
    assert len(fine[0]) == 8  # type: ignore[index]


def test_what_is_no_head_of_this_student_is_refused_before_anything_is_generated(
    engine: TransformersEngine, model: Qwen3ForCausalLM, tmp_path: Path
) -> None:
    def answer(folder: object):
        return Relay(engine, ScriptedEngine("x")).generate("Hi", trigger=Hidden(str(folder), 0.5))

    with pytest.raises(ConfigurationError, match=r"there is no head in .*nowhere.*relay tune --trigger hidden"):
        answer(tmp_path / "nowhere")
    wide = make_head(make_model(hidden_size=64), 1, tmp_path / "wide")
    with pytest.raises(ConfigurationError, match=r"qwen3, hidden size 64, .* this one has .*qwen3, hidden size 32, "):
        answer(wide)
    folder = Path(make_head(model, 8, tmp_path))
    card = json.loads((folder / "head.json").read_text())
    for change, message in (
        ({"format": 99}, "has format 99"),
        ({"features": ["colour"]}, r"the features \['colour'\]"),
        ({"hidden_size": 31}, "do not have the size"),
        ({"student": 7}, "cannot be read"),
    ):
        (folder / "head.json").write_text(json.dumps({**card, **change}))
        with pytest.raises(ConfigurationError, match=message):
            answer(folder)
    (folder / "head.json").write_text(json.dumps(card))
    (folder / "head.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ConfigurationError, match=r"cannot be read \(SafetensorError"):
        answer(folder)


def test_a_head_of_two_layers_says_so_and_its_layers_must_fit(model: Qwen3ForCausalLM, tmp_path: Path) -> None:
    """A head without a first layer keeps the format that earlier versions read."""
    for units, version in ((0, 1), (7, 2)):
        folder = Path(make_head(model, units, tmp_path, units=units))
        card = json.loads((folder / "head.json").read_text())
        head = load_head(folder)
        assert (card["format"], card["hidden_size"], head.hidden_size) == (version, 32, 32)
        assert (head.layer is None) == (not units)
    assert head.layer is not None and head.layer.weight.shape == (7, 36)
    for layer, message in (
        (Layer(head.layer.weight[:6], head.layer.bias), "do not have the size"),
        (Layer(head.layer.weight[:, :30], head.layer.bias), "do not have the size"),
        (Layer(head.layer.weight[:6], head.layer.bias[:6]), "do not have the size"),
        (Layer(head.layer.weight / 0, head.layer.bias), "are not finite numbers"),
    ):
        Head(head.weight, head.bias, head.mean, head.scale, head.student, layer=layer).save(tmp_path / "odd")
        with pytest.raises(ConfigurationError, match=message):
            load_head(tmp_path / "odd")
    head.save(tmp_path / "odd")
    card = json.loads((tmp_path / "odd" / "head.json").read_text())
    (tmp_path / "odd" / "head.json").write_text(json.dumps({**card, "format": 1}))
    with pytest.raises(ConfigurationError, match="do not have the size"):
        load_head(tmp_path / "odd")
