"""A known answer is checked on versions of transformers that have not been tested."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from relay_core import EngineError, Relay, TransformersEngine, bundled
from relay_core.engines.transformers import attention_setup, paged_attention, self_check
from relay_core.tokenizer import Tokenizer

QUESTION = "A box of pens holds 27 pieces. Max sells pens. First, Max orders 8 boxes. How many are there in the end?"


@pytest.fixture
def untested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_check, "TESTED_VERSIONS", ("4.0",))
    monkeypatch.setattr(self_check, "_checked", set())


@pytest.fixture
def bundled_student() -> Any:
    """The bundled student as a loaded model; a trained one, on which wrong attention shows."""
    from relay_core.engines.model_folder import load_model

    return load_model(str(bundled.path("student-relay")))


def test_the_version_that_is_pinned_is_a_tested_one() -> None:
    assert self_check.is_tested()
    assert not self_check.is_tested("5.99.1") and not self_check.is_tested("6.0.0.dev0")
    assert self_check.is_tested("5.24.3") and not self_check.is_tested("5.2.0")


def test_a_right_answer_is_checked_once_a_class(untested: None, monkeypatch: pytest.MonkeyPatch) -> None:
    checks: list[str] = []
    check = self_check.check

    def counted(manager: Any, model: Any, tokenizer: Tokenizer) -> None:
        checks.append(type(model).__name__)
        check(manager, model, tokenizer)

    monkeypatch.setattr(self_check, "check", counted)
    for name in ("student-relay", "teacher"):
        with Relay(TransformersEngine(bundled.path(name)), None) as relay:
            assert relay.generate(QUESTION, max_tokens=3).usage.student_tokens == 3
            relay.student._stop()
    assert checks == ["Qwen3ForCausalLM"]


def unmasked(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any) -> Any:
    """What transformers 5.24 made of an attention function that did not get its cache: attention without a mask."""
    out = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, scale=options.get("scaling"), enable_gqa=query.shape[1] != key.shape[1]
    )
    return out.transpose(1, 2), None


def test_attention_that_is_wrong_is_an_error_before_any_answer(untested: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AttentionInterface

    try:
        AttentionInterface.register(paged_attention.NAME, unmasked)
        with (
            Relay(TransformersEngine(bundled.path("student-relay")), None) as relay,
            pytest.raises(EngineError, match="Qwen3ForCausalLM answers wrongly on transformers"),
        ):
            relay.generate(QUESTION)
    finally:
        AttentionInterface.register(paged_attention.NAME, paged_attention.paged_attention)


def test_attention_without_the_cache_is_an_error_and_no_fallback(bundled_student: Any) -> None:
    model = copy.deepcopy(bundled_student)
    attention_setup.install(model)
    with pytest.raises(RuntimeError, match="without the paged cache"), torch.no_grad():
        model(input_ids=torch.tensor([[1, 2, 3]]), use_cache=False)


async def test_a_lent_model_is_checked_and_given_back_as_it_was(untested: None, bundled_student: Any) -> None:
    model = bundled_student.train()
    attention = model.config._attn_implementation
    engine = TransformersEngine(model, Tokenizer.load(bundled.path("student-relay")))
    try:
        await engine.start()
        assert self_check._checked == {("Qwen3ForCausalLM", paged_attention.NAME)}
        assert model.training and model.config._attn_implementation == attention
    finally:
        await engine.aclose()
