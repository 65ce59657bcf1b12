"""Options within a spec."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest

from relay_core import ConfigurationError, OpenAIEngine, TransformersEngine, VLLMEngine, engine_from_spec
from relay_core.engines.openai.retries import Patience
from relay_core.engines.shared import shared_engine
from relay_core.engines.spec import EngineSpec
from relay_core.engines.spec_options import KNOWN

URL = "http://localhost:1/v1"


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        ("vllm:some/model?max_model_len=4096", {"max_model_len": 4096}),
        ("vllm:/a b/model?dtype=bfloat16&enforce_eager=true", {"dtype": "bfloat16", "enforce_eager": True}),
        (f"openai:M@{URL}?tokenizer=Qwen/Qwen3-8B&retries=0", {"tokenizer": "Qwen/Qwen3-8B", "retries": 0}),
        (f"openai:org@M@{URL}?hedge_after_s=0.5&breaker_after=none", {"hedge_after_s": 0.5, "breaker_after": None}),
        ("bundled?dtype=bfloat16", {"dtype": "bfloat16"}),
        ("bundled:teacher?cache_gib=0.5", {"cache_gib": 0.5}),
        ("some/model?device=cpu", {"device": "cpu"}),
        ("/an/adapter?base=/b+c/d e", {"base": "/b+c/d e"}),
        ("bundled:teacher?base=/100%25%26more&dtype=float32", {"base": "/100%&more", "dtype": "float32"}),
        ("transformers:some/model", {}),
    ],
)
def test_options_are_read_and_written(spec: str, options: dict[str, Any]) -> None:
    parsed = EngineSpec.parse(spec)
    assert dict(parsed.options) == options
    assert EngineSpec.parse(str(parsed)) == parsed
    assert "?" not in parsed.model + parsed.base_url


def test_options_reach_the_engine() -> None:
    engine = engine_from_spec(f"openai:M@{URL}?retries=7&total_s=12.5")
    assert isinstance(engine, OpenAIEngine)
    assert (engine.patience.retries, engine.patience.total_s) == (7, 12.5)
    explicit = engine_from_spec(f"openai:M@{URL}?retries=7", retries=2)
    assert isinstance(explicit, OpenAIEngine) and explicit.patience.retries == 2
    with pytest.raises(ConfigurationError, match=r"page_size is 2"):
        engine_from_spec("bundled?page_size=2")
    assert isinstance(engine_from_spec("vllm:some/model?max_model_len=4096"), VLLMEngine)


def test_specs_with_other_options_are_other_engines() -> None:
    one = shared_engine(f"openai:M@{URL}?retries=1", role="teacher")
    assert shared_engine(f"openai:M@{URL}?retries=1", role="teacher") is one
    assert shared_engine(f"openai:M@{URL}?retries=2", role="teacher") is not one


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (f"openai:M@{URL}?api_key=s3cret", "give a key as api_key="),
        (f"openai:M@{URL}?Authorization=s3cret", "give a key as api_key="),
        ("vllm:some/model?hf_token=s3cret", "give a key as api_key="),
        (f"openai:M@{URL}?subscription-key=s3cret", "give a key as api_key="),
        (f"openai:M@{URL}?retry=s3cret", r"openai has no option 'retry'; did you mean retries\?"),
        (f"openai:M@{URL}?headers=s3cret", "openai has no option 'headers'"),
        ("bundled?max_model_len=s3cret", "bundled has no option 'max_model_len'"),
        ("vllm:some/model?a b=s3cret", "NAME=VALUE"),
        ("bundled?dtype=s3cret&dtype=s3cret", "stands twice"),
        ("bundled?", "no option"),
        ("bundled?s3cret", "no option"),
    ],
)
def test_what_is_no_option(spec: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as refused:
        engine_from_spec(spec)
    if spec.partition("?")[2] != "s3cret":
        assert "s3cret" not in str(refused.value)


def test_the_options_are_the_engines_arguments() -> None:
    """But for what names the model, what cannot be written as text, and what holds a secret."""
    local = set(inspect.signature(TransformersEngine).parameters) - {"model", "tokenizer", "spec"}
    assert KNOWN["transformers"] == KNOWN["bundled"] == local
    not_options = {"model", "base_url", "api_key", "role", "headers", "query", "verify", "proxy", "patience", "options"}
    remote = set(inspect.signature(OpenAIEngine).parameters) - not_options
    assert KNOWN["openai"] == remote | {field.name for field in dataclasses.fields(Patience)}
