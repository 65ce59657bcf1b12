"""A model in bfloat16 on a CPU that has no instructions for it."""

import logging

import pytest
import torch

from relay_core import TransformersEngine, bundled
from relay_core.engines.transformers import precision

NONE = {"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}


@pytest.mark.parametrize(
    ("capabilities", "has"),
    [
        (NONE, False),
        ({**NONE, "avx512_bf16": True}, True),
        ({**NONE, "amx_bf16": True}, True),
        ({"neon": True}, True),
    ],
)
def test_what_a_cpu_says_of_itself(monkeypatch, capabilities, has):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert precision.cpu_has_bfloat16() is has


def test_a_torch_that_says_nothing_is_no_reason_to_warn(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert precision.cpu_has_bfloat16()


@pytest.mark.parametrize(("dtype", "warns"), [("bfloat16", True), ("float32", False)])
async def test_the_engine_says_so_once(monkeypatch, caplog, dtype, warns):
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: False)
    engine = TransformersEngine(bundled.path("student-base"), device="cpu", dtype=dtype, cache_tokens=512)
    with caplog.at_level(logging.WARNING, "relay_core"):
        for _ in range(2):
            await engine.start()
            assert ("write ?dtype=float32" in str(engine.describe()["warning"])) is warns
            await engine.aclose()
    assert len(caplog.records) == warns
