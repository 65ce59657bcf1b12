"""Starting, closing, failing and being forgotten."""

from __future__ import annotations

import asyncio
import copy
import gc
import subprocess
import sys
import threading
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3ForCausalLM

from relay_core.engines.base import Finish, Prompt, Sampling
from relay_core.engines.transformers import TransformersEngine
from relay_core.engines.transformers.manager import Manager
from relay_core.engines.transformers.request import Request
from relay_core.engines.transformers.sampler import Sampler
from relay_core.errors import EngineError
from relay_core.tokenizer import Tokenizer
from testing.tiny_transformers import PROMPTS, collect, generate


def test_streams_run_on_any_event_loop(engine: TransformersEngine, model: Qwen3ForCausalLM) -> None:
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
        assert threading.active_count() <= before + 6  # asyncio keeps its worker threads


async def test_closing_fails_running_requests(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
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


def test_a_process_ends_if_nobody_closed_the_engine(
    tmp_path: Path, model: Qwen3ForCausalLM, tokenizer: Tokenizer
) -> None:
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


# -- a request that cannot run, beside others ------------------------------------------------------------------


@pytest.mark.parametrize("ids", [[5, 300], [5, 10**30], [-1], [1.5], ["a"], []])
async def test_ids_that_the_model_lacks_are_refused_and_cost_no_other_request(
    engine: TransformersEngine, model: Qwen3ForCausalLM, ids: list[Any]
) -> None:
    async with aclosing(engine.stream(Prompt("", PROMPTS[0]), Sampling(40))) as other:
        written = [token.id for token in (await anext(other)).tokens]
        with pytest.raises(EngineError, match="the prompt"):
            await collect(engine, ids)
        async for chunk in other:
            written += [token.id for token in chunk.tokens]
    assert written == generate(model, PROMPTS[0])


@pytest.mark.parametrize("temperature", [1e-300, 1e-30, 1e-4, 1e30, 1.7e308])
@pytest.mark.parametrize("options", [{}, {"top_p": 1e-320}, {"top_k": 2**70}])
async def test_extreme_settings_sample_from_the_distribution(
    engine: TransformersEngine, model: Qwen3ForCausalLM, temperature: float, options: dict[str, Any]
) -> None:
    results = await asyncio.gather(
        collect(engine, PROMPTS[1], 5, temperature=temperature, seed=2**63 - 1, **options), collect(engine, PROMPTS[0])
    )
    assert results[1][0] == generate(model, PROMPTS[0])
    if temperature < 1 or options == {"top_p": 1e-320}:
        assert results[0][0][:1] == generate(model, PROMPTS[1], 1)


async def test_an_error_in_one_answer_of_a_batch_ends_that_answer_alone(
    engine: TransformersEngine, model: Qwen3ForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = Request.accept

    def fail_one(request: Request, token_id: int, logprob: float, *more: float | None) -> Finish | None:
        if request.prompt_length == len(PROMPTS[1]):
            raise OverflowError("no such character")
        return accept(request, token_id, logprob, *more)

    monkeypatch.setattr(Request, "accept", fail_one)
    results = await asyncio.gather(*[collect(engine, ids) for ids in PROMPTS], return_exceptions=True)
    assert isinstance(results[1], EngineError) and "no such character" in str(results[1])
    for i in (0, 2):
        assert results[i][0] == generate(model, PROMPTS[i])  # type: ignore[index]


class Escaping(BaseException):
    """An exception that transformers' own loop does not catch."""


@pytest.mark.parametrize("error", [RuntimeError("the device is gone"), Escaping("the device is gone")])
@pytest.mark.parametrize("where", ["forward", "sampler"])
@pytest.mark.parametrize("is_lent", [True, False])
async def test_a_dead_manager_fails_its_requests_and_the_next_request_starts_another(
    tmp_path: Path,
    model: Qwen3ForCausalLM,
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    where: str,
    is_lent: bool,
) -> None:
    own = copy.deepcopy(model)
    own.save_pretrained(tmp_path)
    engine = TransformersEngine(own if is_lent else tmp_path, tokenizer)
    await engine.start()
    first = engine._manager
    assert first is not None and engine._model is not None

    def broken(*_: object, **__: object) -> None:
        raise error

    try:
        async with asyncio.timeout(30):
            with monkeypatch.context() as patch:
                patch.setattr(*((engine._model, "forward") if where == "forward" else (Sampler, "__call__")), broken)
                results = await asyncio.gather(*[collect(engine, ids) for ids in PROMPTS], return_exceptions=True)
            assert all(isinstance(r, EngineError) and "the device is gone" in str(r) for r in results), results
            if is_lent:
                assert own.config._attn_implementation == "sdpa"
            assert (await collect(engine, PROMPTS[1]))[0] == generate(model, PROMPTS[1])
        assert engine._manager is not first
        assert first._manager.batch_processor is None, "its cache is freed"
    finally:
        await engine.aclose()


async def test_a_manager_that_cannot_fail_its_requests_leaves_none_waiting(
    model: Qwen3ForCausalLM, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TransformersEngine(copy.deepcopy(model), tokenizer)
    await engine.start()

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(Sampler, "__call__", broken)
    monkeypatch.setattr(engine._manager._manager, "_fail_all_remaining_requests", broken)  # type: ignore[union-attr]
    try:
        async with asyncio.timeout(30):
            results = await asyncio.gather(*[collect(engine, ids) for ids in PROMPTS], return_exceptions=True)
        assert all(isinstance(r, EngineError) for r in results), results
    finally:
        await engine.aclose()


async def test_a_request_that_the_manager_does_not_take_fails(
    engine: TransformersEngine, model: Qwen3ForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("no such request")

    await engine.start()
    with monkeypatch.context() as patch:
        patch.setattr(Manager, "submit", broken)
        async with asyncio.timeout(10):
            with pytest.raises(EngineError, match="no such request"):
                await collect(engine, PROMPTS[0])
    assert (await collect(engine, PROMPTS[1]))[0] == generate(model, PROMPTS[1])


# -- closing while answers run ---------------------------------------------------------------------------------


async def test_closing_ends_answers_at_once_however_long_a_step_takes(
    model: Qwen3ForCausalLM, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TransformersEngine(copy.deepcopy(model), tokenizer)
    await engine.start()
    step, entered, go_on = Sampler.__call__, threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        entered.set()
        go_on.wait(30)
        return step(*arguments)

    monkeypatch.setattr(Sampler, "__call__", slow)
    answer = asyncio.ensure_future(collect(engine, PROMPTS[0]))
    await asyncio.to_thread(entered.wait, 30)
    closing = asyncio.ensure_future(engine.aclose())
    try:
        with pytest.raises(EngineError, match="the engine was closed"):
            await asyncio.wait_for(answer, 5)
        assert not closing.done()
    finally:
        go_on.set()
        await closing


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_closing_again_and_again_while_answers_run_hangs_nothing(
    model: Qwen3ForCausalLM, tokenizer: Tokenizer, elsewhere: bool
) -> None:
    engine = TransformersEngine(copy.deepcopy(model), tokenizer)

    async def close(after_s: float) -> None:
        await asyncio.sleep(after_s)
        if elsewhere:
            await asyncio.to_thread(asyncio.run, engine.aclose())
        else:
            await engine.aclose()

    async with asyncio.timeout(60):
        for pause_s in (0, 0.01, 0.05):
            answers = [collect(engine, PROMPTS[i % 3], 200) for i in range(6)]
            closings = [close(pause_s * i) for i in range(4)]
            results = await asyncio.gather(*answers, *closings, engine.start(), return_exceptions=True)
            for result in results:
                assert not isinstance(result, BaseException) or isinstance(result, EngineError), result
        assert (await collect(engine, PROMPTS[1]))[0] == generate(model, PROMPTS[1])
        await asyncio.gather(engine.aclose(), engine.aclose())
    assert not engine.running
