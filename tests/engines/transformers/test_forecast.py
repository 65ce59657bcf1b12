"""What a pair takes is told before it is loaded, and is what it then takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay_core import ConfigurationError, TransformersEngine, bundled
from relay_core.engines.transformers import memory
from relay_core.engines.transformers.footprint import GIB
from relay_core.engines.transformers.forecast import forecast
from relay_core.tokenizer import Tokenizer
from testing.tiny_transformers import make_model


@pytest.fixture(autouse=True)
def nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that other tests have left open hold nothing here."""
    monkeypatch.setattr(memory, "holders", type(memory.holders)())


async def test_the_forecast_is_what_the_engine_takes(tmp_path: Path, tokenizer: Tokenizer) -> None:
    make_model().save_pretrained(tmp_path)
    engine = TransformersEngine(tmp_path, tokenizer, device="cpu")
    told = forecast({"student": engine})
    model = told["models"]["student"]
    await engine.start()
    try:
        assert told["fits"] and engine._manager is not None
        assert engine._manager.max_request_tokens == model["cache_tokens"] - 16  # the manager keeps a page back
        assert told["total_gib"] == pytest.approx(model["weights_gib"] + model["cache_gib"], abs=0.001)
    finally:
        await engine.aclose()


def test_the_second_model_gets_what_the_first_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = {
        role: TransformersEngine(bundled.path(name))
        for role, name in (("student", "student-relay"), ("teacher", "teacher"))
    }
    monkeypatch.setattr(memory, "_system_free", lambda device: 2 * GIB)
    wide = forecast(pair)
    assert wide["fits"] and set(wide["free_gib"].values()) == {2.0}
    student = wide["models"]["student"]
    needed = (student["weights_gib"] + student["cache_gib"]) * GIB
    monkeypatch.setattr(memory, "_system_free", lambda device: int(needed))
    tight = forecast(pair)
    assert tight["models"]["student"]["cache_tokens"] < student["cache_tokens"], "the teacher's weights are left free"
    monkeypatch.setattr(memory, "_system_free", lambda device: 2**20)
    none = forecast(pair)
    assert not none["fits"] and "cache_gib" in none["models"]["teacher"]["error"]


def test_a_loaded_model_has_no_forecast(tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigurationError, match="was given a loaded model"):
        forecast({"student": TransformersEngine(make_model(), tokenizer)})
