"""Starting, closing, failing and being forgotten."""

from __future__ import annotations

import asyncio
import copy
import gc
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from transformers import Qwen3ForCausalLM

from relay_core.engines.base import Prompt, Sampling
from relay_core.engines.transformers import TransformersEngine
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
