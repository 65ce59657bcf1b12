"""TransformersEngine against transformers' own ``generate`` and forward pass, on tiny random models in float32."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from relay_core.engines.base import Chunk, Finish, Prompt, Sampling, Warming, Waste
from relay_core.engines.transformers import TransformersEngine
from relay_core.errors import ConfigurationError, ContextOverflow, EngineError
from relay_core.tokenizer import Tokenizer

TEXT = "Anna has 12 apples and gives 5 of them to Ben. <call>3</call> So 12 - 5 = 7, naïve café 🙂. " * 8
PROMPTS = [[7, 8, 9, 10] * 6, [40, 41, 42], list(range(20, 60))]


def make_tokenizer() -> Tokenizer:
    raw = RawTokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False))
    return Tokenizer(PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>"), "tiny")


def make_model(seed: int = 0, **changes: Any) -> Qwen3ForCausalLM:
    torch.manual_seed(seed)
    config = Qwen3Config(
        **{
            "vocab_size": 300,  # so that the end token, id 300, never comes by itself
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": 256,
            "initializer_range": 0.3,
            "bos_token_id": None,
            "eos_token_id": None,
            "pad_token_id": None,
            **changes,
        }
    )
    return Qwen3ForCausalLM(config).eval()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return make_tokenizer()


@pytest.fixture(scope="module")
def model() -> Qwen3ForCausalLM:
    return make_model()


@pytest.fixture(scope="module")
def engine(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> Iterator[TransformersEngine]:
    """One engine for the module: every test has a loop of its own, which must not matter."""
    engine = TransformersEngine(copy.deepcopy(model), tokenizer)
    yield engine
    asyncio.run(engine.aclose())


async def collect(
    engine: TransformersEngine, ids: Sequence[int], max_tokens: int = 40, **sampling: Any
) -> tuple[list[int], Chunk, list[Any]]:
    """The ids, the last chunk and all tokens of one stream."""
    tokens: list[Any] = []
    async with aclosing(engine.stream(Prompt("", ids), Sampling(max_tokens, **sampling))) as stream:
        async for chunk in stream:
            tokens += chunk.tokens
    return [t.id for t in tokens], chunk, tokens


def generate(model: Qwen3ForCausalLM, ids: Sequence[int], max_tokens: int = 40, **options: Any) -> list[int]:
    """What transformers' own greedy ``generate`` says."""
    prompt = torch.tensor([list(ids)])
    with torch.no_grad():
        out = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=max_tokens, do_sample=False, **options
        )
    return [int(i) for i in out[0, len(ids) :]]


def logprobs_of(model: Qwen3ForCausalLM, prompt: Sequence[int], ids: Sequence[int]) -> torch.Tensor:
    """Log-probabilities over the vocabulary before each of ``ids``; shape [ids, vocabulary]."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *ids]])).logits[0]
    return logits[len(prompt) - 1 : -1].log_softmax(-1)


# -- what it writes --------------------------------------------------------------------------------------------


async def test_greedy_is_generate(engine: TransformersEngine, model: Qwen3ForCausalLM) -> None:
    results = await asyncio.gather(*[collect(engine, ids) for ids in PROMPTS])
    for ids, (got, last, _) in zip(PROMPTS, results, strict=True):
        assert got == generate(model, ids)
        assert last.finish is Finish.LENGTH
        assert last.usage is not None
        assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (len(ids), 40)


async def test_greedy_is_the_same_cut_into_pieces(engine: TransformersEngine, model: Qwen3ForCausalLM) -> None:
    async def pieces(ids: list[int]) -> list[int]:
        written: list[int] = []
        while len(written) < 36:
            written += (await collect(engine, [*ids, *written], 6))[0]
        return written

    for ids, got in zip(PROMPTS, await asyncio.gather(*map(pieces, PROMPTS)), strict=True):
        assert got == generate(model, ids, 36)


async def test_a_prompt_longer_than_a_step_reads_in_parts(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
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
        assert set(whole[len(text) :]) <= {"\ufffd"}  # the beginning of a character at the very end waits


async def test_end_token_ends_and_is_apart(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
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


# -- limits ----------------------------------------------------------------------------------------------------


async def test_a_prompt_that_fills_the_context_is_refused_with_lengths(engine: TransformersEngine) -> None:
    await engine.start()
    assert engine.context_length == 256
    with pytest.raises(ContextOverflow, match=r"256 tokens.*256"):
        await collect(engine, [5] * 256)


async def test_the_context_ends_an_answer(engine: TransformersEngine) -> None:
    ids, last, _ = await collect(engine, [5, 6] * 125, 40)
    assert (len(ids), last.finish) == (6, Finish.LENGTH)


async def test_closing_a_stream_frees_its_request(engine: TransformersEngine) -> None:
    stream: AsyncGenerator[Chunk, None] = engine.stream(Prompt("", PROMPTS[0]), Sampling(200))
    await anext(stream)
    (request,) = engine._requests
    assert request.ticket is not None
    await stream.aclose()
    assert not engine._requests
    await collect(engine, PROMPTS[1], 3)  # the manager has taken the cancellation when it has done more work
    scheduler = engine._manager.scheduler  # type: ignore[union-attr]
    assert request.ticket.id not in scheduler.active_requests
    assert request.sampled_count < 200


async def test_a_slow_consumer_gets_several_tokens_at_once(engine: TransformersEngine) -> None:
    async with aclosing(engine.stream(Prompt("", PROMPTS[0]), Sampling(30))) as stream:
        chunks = [await anext(stream)]
        await collect(engine, PROMPTS[1], 60)  # meanwhile the first stream is done
        async for chunk in stream:
            chunks.append(chunk)
    assert sum(len(c.tokens) for c in chunks) == 30
    assert len(chunks) <= 3


# -- warming: begun before it is known how many tokens are wanted ------------------------------------------------


async def warmed(
    engine: TransformersEngine, ids: Sequence[int], n: int, most: int, *, late: bool
) -> tuple[list[int], Chunk, Waste]:
    """What a warmed stream gives; ``late``: it is told n when it has written all that it may."""
    waste = Waste()
    warming = Warming(waste)
    async with aclosing(engine.warm_stream(Prompt("", ids), Sampling(most), warming)) as stream:
        first = asyncio.ensure_future(anext(stream))
        while late and not (engine._requests and all(r.is_over for r in engine._requests)):
            await asyncio.sleep(0.001)
        assert not first.done()
        warming.want(n)
        chunk = await first
        got = [t.id for t in chunk.tokens]
        async for chunk in stream:
            got += [t.id for t in chunk.tokens]
    return got, chunk, waste


@pytest.mark.parametrize(("n", "most"), [(1, 30), (7, 30), (29, 30), (30, 30)])
async def test_a_warmed_stream_is_cut_where_it_is_wanted(
    engine: TransformersEngine, model: Qwen3ForCausalLM, n: int, most: int
) -> None:
    for late in (False, True):
        got, last, waste = await warmed(engine, PROMPTS[2], n, most, late=late)
        assert got == generate(model, PROMPTS[2], n)
        assert (last.finish, last.end_token) == (Finish.LENGTH, None)
        assert last.usage is not None
        assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (len(PROMPTS[2]), n)
        assert last.usage.cached_tokens is not None
        assert waste.requests == 0
        assert waste.tokens == most - n if late else waste.tokens <= most - n
    assert (await collect(engine, PROMPTS[2], 20))[0] == generate(model, PROMPTS[2], 20)


async def test_a_short_warmed_stream_ends_the_work_at_n(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
    engine = TransformersEngine(copy.deepcopy(model), tokenizer)
    try:
        _, _, waste = await warmed(engine, PROMPTS[0], 3, 150, late=False)
        assert waste.tokens <= 2, "the manager was told in time"
        manager = engine._manager
        assert manager is not None
        while manager.scheduler.active_requests:
            await asyncio.sleep(0.001)
    finally:
        await engine.aclose()


async def test_an_end_beyond_what_is_wanted_is_no_end(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
    ids = generate(model, PROMPTS[0], 12)
    end = next(k for k in range(1, 12) if ids[k] not in ids[:k])
    live = copy.deepcopy(model)
    live.generation_config.eos_token_id = ids[end]
    engine = TransformersEngine(live, tokenizer)
    try:
        got, last, waste = await warmed(engine, PROMPTS[0], end, 12, late=True)
        assert (got, last.finish, last.end_token, waste.tokens) == (ids[:end], Finish.LENGTH, None, 1)
        got, last, waste = await warmed(engine, PROMPTS[0], 12, 12, late=True)
        assert (got, last.finish, waste.tokens) == (ids[:end], Finish.END, 0)
        assert last.end_token is not None
    finally:
        await engine.aclose()


async def test_a_warmed_stream_that_is_dropped_is_counted(engine: TransformersEngine) -> None:
    waste = Waste()
    stream = engine.warm_stream(Prompt("", PROMPTS[1]), Sampling(150), Warming(waste))
    first = asyncio.ensure_future(anext(stream))
    while not (engine._requests and all(r.sampled_count for r in engine._requests)):
        await asyncio.sleep(0.001)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (waste.requests, waste.prompt_tokens) == (1, len(PROMPTS[1]))
    assert waste.tokens > 0
    assert not engine._requests


# -- the cache, and weights that change ------------------------------------------------------------------------


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


async def test_weights_that_change_under_a_running_request(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
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


async def test_a_live_model_keeps_its_owners_mode(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
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


# -- life ------------------------------------------------------------------------------------------------------


def test_any_event_loop_will_do(engine: TransformersEngine, model: Qwen3ForCausalLM) -> None:
    expected = generate(model, PROMPTS[1])
    results: list[list[int]] = []

    def elsewhere() -> None:
        results.append(asyncio.run(collect(engine, PROMPTS[1]))[0])

    threads = [threading.Thread(target=elsewhere) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elsewhere()
    assert results == [expected] * 4


def test_inside_inference_mode(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
    engine = TransformersEngine(copy.deepcopy(model), tokenizer)

    async def run() -> list[int]:
        try:
            return (await collect(engine, PROMPTS[1]))[0]
        finally:
            await engine.aclose()

    with torch.inference_mode():
        got = asyncio.run(run())
    assert got == generate(model, PROMPTS[1])


async def test_start_and_close_again_and_again(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
    engine = TransformersEngine(copy.deepcopy(model), tokenizer)
    await engine.aclose()
    expected = generate(model, PROMPTS[1])
    for _ in range(2):
        before = threading.active_count()
        await asyncio.gather(*[engine.start() for _ in range(5)])
        thread = engine._manager.thread  # type: ignore[union-attr]
        assert (await collect(engine, PROMPTS[1]))[0] == expected
        assert thread is engine._manager.thread  # type: ignore[union-attr]
        await engine.aclose()
        await engine.aclose()
        assert not engine.running
        assert not thread.is_alive()  # type: ignore[union-attr]
        assert threading.active_count() <= before + 6  # asyncio's own worker threads stay


async def test_closing_fails_what_runs(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
    engine = TransformersEngine(copy.deepcopy(model), tokenizer)
    stream = engine.stream(Prompt("", PROMPTS[0]), Sampling(200))
    await anext(stream)
    await engine.aclose()
    with pytest.raises(EngineError, match="stopped"):
        async for _ in stream:
            pass


async def test_closing_while_paused(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
    engine = TransformersEngine(copy.deepcopy(model), tokenizer)
    await engine.start()
    thread = engine._manager.thread  # type: ignore[union-attr]
    with engine.paused():
        await engine.aclose()
        assert not thread.is_alive()  # type: ignore[union-attr]
    try:
        assert (await collect(engine, PROMPTS[1]))[0] == generate(model, PROMPTS[1])
    finally:
        await engine.aclose()


async def test_a_fatal_error_reaches_every_request_and_the_engine_starts_anew(
    model: Qwen3ForCausalLM, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = copy.deepcopy(model)
    engine = TransformersEngine(own, tokenizer)
    await engine.start()

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the device is gone")

    with monkeypatch.context() as patch:
        patch.setattr(own, "forward", broken)
        results = await asyncio.gather(*[collect(engine, ids) for ids in PROMPTS], return_exceptions=True)
    for error in results:
        assert isinstance(error, EngineError)
        assert "the device is gone" in str(error)
        assert isinstance(error.__cause__, RuntimeError)
    try:
        assert (await collect(engine, PROMPTS[1]))[0] == generate(model, PROMPTS[1])
    finally:
        await engine.aclose()


async def test_a_model_from_a_folder_starts_anew_after_a_fatal_error(
    tmp_path: Path, model: Qwen3ForCausalLM, tokenizer: Tokenizer
) -> None:
    model.save_pretrained(tmp_path)
    engine = TransformersEngine(tmp_path, tokenizer)
    await engine.start()

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the device is gone")

    try:
        loaded = engine._model
        assert loaded is not None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loaded, "forward", broken)
            with pytest.raises(EngineError, match="the device is gone"):
                await collect(engine, PROMPTS[0])
        assert (await collect(engine, PROMPTS[1]))[0] == generate(model, PROMPTS[1])
    finally:
        await engine.aclose()


def test_a_forgotten_engine_stops_its_thread(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
    engine = TransformersEngine(copy.deepcopy(model), tokenizer)
    asyncio.run(collect(engine, PROMPTS[1], 3))
    thread = engine._manager.thread  # type: ignore[union-attr]
    assert thread is not None
    del engine
    gc.collect()
    thread.join(timeout=20)
    assert not thread.is_alive()


def test_a_process_ends_though_nobody_closed(tmp_path: Path, model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
    model.save_pretrained(tmp_path)
    tokenizer.hf.save_pretrained(tmp_path)
    script = f"""
import asyncio
from relay_core.engines.transformers import TransformersEngine
from relay_core.engines.base import Prompt, Sampling
engine = TransformersEngine({str(tmp_path)!r})
async def main():
    global stream, pause
    stream = engine.stream(Prompt("", [5, 6, 7]), Sampling(200))
    print((await anext(stream)).tokens[0].id)
    pause = engine.paused()
    pause.__enter__()
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(generate(model, [5, 6, 7], 1)[0])]


# -- folders ---------------------------------------------------------------------------------------------------


async def test_a_folder_is_loaded_when_started(tmp_path: Path, model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
    model.save_pretrained(tmp_path)
    tokenizer.hf.save_pretrained(tmp_path)
    engine = TransformersEngine(tmp_path)
    assert engine.context_length == 256
    assert engine.spec == f"transformers:{tmp_path}"
    assert not engine.running
    try:
        assert (await collect(engine, PROMPTS[0]))[0] == generate(model, PROMPTS[0])
        assert engine.tokenizer.fingerprint == tokenizer.fingerprint
        assert engine.describe()["parameters"] == sum(p.numel() for p in model.parameters())
    finally:
        await engine.aclose()


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_text("{}" if name.endswith(".json") else "weights")
    return folder


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ((), "config.json.*empty"),
        (("model.safetensors", "tokenizer.json"), "no config.json.*model.safetensors"),
        (("config.json", "tokenizer.json"), "no weights"),
        (("config.json", "pytorch_model.bin", "tokenizer.json"), "pytorch_model.bin.*only safetensors"),
        (("config.json", "model.gguf", "tokenizer.json"), "model.gguf.*only safetensors"),
        (("config.json", "model.safetensors"), "no tokenizer"),
        (("adapter_config.json", "adapter_model.safetensors"), "adapter"),
    ],
)
def test_a_bad_folder_is_refused_before_anything_is_loaded(tmp_path: Path, files: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        TransformersEngine(fill(tmp_path, *files))


def test_other_bad_models(tmp_path: Path, model: Qwen3ForCausalLM) -> None:
    with pytest.raises(ConfigurationError, match=r"no folder.*accepted|no folder.*write"):
        TransformersEngine(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigurationError, match="is a file"):
        TransformersEngine(fill(tmp_path, "model.safetensors") / "model.safetensors")
    with pytest.raises(ConfigurationError, match="needs its tokenizer"):
        TransformersEngine(model)
    with pytest.raises(ConfigurationError, match="model is a int"):
        TransformersEngine(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="dtype"):
        TransformersEngine("some/model", dtype="int4")
    fill(tmp_path, "config.json", "tokenizer.json")
    (tmp_path / "config.json").write_text("{not json")
    with pytest.raises(ConfigurationError, match=r"config.json cannot be read"):
        TransformersEngine(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ConfigurationError, match=r"lacks model-1\.safetensors"):
        TransformersEngine(tmp_path)


@pytest.mark.parametrize("option", ["cuda_graphs", "async_batching"])
async def test_options_for_cuda_are_refused_on_a_cpu(
    model: Qwen3ForCausalLM, tokenizer: Tokenizer, option: str
) -> None:
    engine = TransformersEngine(copy.deepcopy(model), tokenizer, **{option: True})
    with pytest.raises(ConfigurationError, match=f"{option} is True, but the model is on 'cpu'"):
        await engine.start()
    assert not engine.running


async def test_what_loading_finds_wrong(tmp_path: Path, model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
    tokenizer.hf.save_pretrained(tmp_path)
    state = {k: v for k, v in model.state_dict().items() if "layers.1" not in k}
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ConfigurationError, match=r"lack \d+ tensors: .*layers\.1"):
        await TransformersEngine(tmp_path).start()
    (tmp_path / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0garbage")
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        await TransformersEngine(tmp_path).start()
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        await TransformersEngine("no-such-owner/no-such-model", tokenizer).start()
