import shutil
from collections import namedtuple

import pytest

from relay_core.engines.transformers import memory as free_memory
from relay_core.engines.transformers.footprint import GIB
from relay_core.train.checks import machine
from relay_core.train.checks.findings import Inspection, Level
from relay_core.train.memory import estimate
from relay_core.train.recipe import build

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def inspection(model_folder, tmp_path):
    counts = {"warmup": {"problems": 4}, "filter": {"problems": 4}, "measure": {"problems": 2}}
    pair = {"student": str(model_folder), "teacher": str(model_folder)}
    return Inspection(build({**counts, **pair, "relay": {"max_tokens": 24}}), tmp_path / "not" / "there", 1)


def test_memory_that_suffices(inspection, monkeypatch):
    monkeypatch.setattr(free_memory, "free_bytes", lambda device: 64 * GIB)  # whatever engines this process holds
    found = list(machine.memory(inspection))
    assert [level for level, _ in found] == [Level.OK] * 3 and "64.00 GiB free, estimated" in found[0][1]
    assert not inspection.no_models


def test_memory_that_does_not(inspection, monkeypatch):
    monkeypatch.setattr(free_memory, "free_bytes", lambda device: 2**20)
    level, text = list(machine.memory(inspection))[-1]
    assert level is Level.ERROR and "write grpo.trainer.gradient_checkpointing: true, or " in text
    assert "a teacher on a server" in text and inspection.no_models


def test_memory_that_might_not(inspection, monkeypatch):
    monkeypatch.setattr(free_memory, "free_bytes", lambda device: 64 * GIB)
    most = max(phase.total for phase in estimate(inspection.recipe, prompt_tokens=40).phases)
    monkeypatch.setattr(machine, "TIGHT", most / (64 * GIB) / 2)
    text = next(text for level, text in machine.memory(inspection) if level is Level.WARNING)
    assert "up to a quarter more: write grpo.trainer.gradient_checkpointing: true" in text
    assert not inspection.no_models


def test_disk(inspection, monkeypatch, tmp_path):
    ((level, text),) = machine.disk(inspection)
    assert level is Level.OK and f"free in {tmp_path}" in text
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(0, 0, 10_000))
    ((level, text),) = machine.disk(inspection)
    assert level is Level.ERROR and "choose another --out" in text
