"""What is free, and what the engines of a process hold and expect."""

from __future__ import annotations

import gc
from pathlib import Path

import psutil
import pytest
import torch

from relay_core import EngineError, TransformersEngine
from relay_core.engines.transformers import memory
from relay_core.engines.transformers.engine import ModelMemory
from relay_core.tokenizer import Tokenizer
from testing.tiny_transformers import PROMPTS, collect, make_model

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()
    monkeypatch.setattr(memory, "holders", type(memory.holders)())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_model().save_pretrained(tmp_path)
    return tmp_path


def test_a_model_is_expected_until_it_is_loaded_and_held_until_it_is_closed(folder: Path) -> None:
    model = ModelMemory(str(folder), "auto", "cpu")
    weights = model.footprint.weights  # type: ignore[union-attr]
    assert memory.expected_bytes(CPU) == weights > 0 and model.held_bytes(CPU) == 0
    assert memory.expected_bytes(CPU, without=model) == memory.expected_bytes(torch.device("cuda")) == 0
    model.loaded()
    assert memory.expected_bytes(CPU) == 0 and model.held_bytes(CPU) == weights, "it remains pages of the file"
    model.closed()
    assert memory.expected_bytes(CPU) == model.held_bytes(CPU) == 0
    converted = ModelMemory(str(folder), "bfloat16", "cpu")
    converted.loaded()
    assert converted.held_bytes(CPU) == 0, "the system sees it"


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("limit", "use", "stat")
    for name, text in zip(
        names, (str(100 * 2**20), str(90 * 2**20), f"anon 5\ninactive_file {20 * 2**20}"), strict=True
    ):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, "_CGROUPS", ((*(str(tmp_path / name) for name in names), "inactive_file"),))
    assert memory.free_bytes(CPU) == 30 * 2**20
    (tmp_path / "limit").write_text("max\n")
    assert memory.free_bytes(CPU) == pytest.approx(psutil.virtual_memory().available, rel=0.2)


async def test_what_does_not_fit_is_refused_before_anything_is_loaded(
    folder: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_system_free", lambda device: 1000)
    monkeypatch.setattr("relay_core.engines.model_folder.load_model", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(EngineError, match=r"the weights take .* free on cpu"):
        await TransformersEngine(folder, tokenizer, device="cpu").start()


async def test_the_second_engine_sees_what_the_first_has_taken(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[TransformersEngine] = []
    # a machine with 48 MiB, of which the caches take what they take
    monkeypatch.setattr(memory, "_system_free", lambda device: 48 * 2**20 - sum(memory.caches.values()))
    monkeypatch.setattr(memory, "caches", type(memory.caches)())
    for seed in range(2):
        engine = TransformersEngine(make_model(seed), tokenizer)
        await engine.start()
        taken.append(engine)
    try:
        first, second = sorted(memory.caches.values(), reverse=True)
        assert first == pytest.approx(65_536 * 256, rel=0.01) and second == pytest.approx(first, rel=0.1)
        third = TransformersEngine(make_model(2), tokenizer)
        await third.start()
        taken.append(third)
        assert min(memory.caches.values()) == pytest.approx((48 * 2**20 - first - second) / 2, rel=0.01)
    finally:
        for engine in taken:
            await engine.aclose()


async def test_running_out_of_memory_names_a_smaller_cache(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    engine = TransformersEngine(model, tokenizer, cache_gib=0.01)
    monkeypatch.setattr(memory, "caches", type(memory.caches)())
    await engine.start()

    def out_of_memory(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("tried to allocate 2.00 GiB.")

    try:
        monkeypatch.setattr(model, "forward", out_of_memory)
        with pytest.raises(EngineError, match=r"takes 0.01 GiB: cache_gib=0.005 leaves more memory"):
            await collect(engine, PROMPTS[0])
    finally:
        await engine.aclose()
