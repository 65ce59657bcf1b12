"""An engine travels as its spec and options, without model, connection or key; a copy of an engine is the engine."""

from __future__ import annotations

import copy
import pickle
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from relay_core import Chunk, Engine, OpenAIEngine, Prompt, Sampling, ScriptedEngine, TransformersEngine, VLLMEngine
from relay_core import engine_from_spec as build
from relay_core.engines.openai.protocol import Mode
from relay_core.engines.wrapped import Wrapped
from relay_core.errors import ConfigurationError
from relay_core.tokenizer import Tokenizer

URL = "http://localhost:1/v1"


def sent(engine: Any) -> Any:
    return pickle.loads(pickle.dumps(engine))


class Own(Engine):
    """A user's engine."""

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        yield Chunk()


def test_an_endpoint_keeps_its_options_and_reads_its_key_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"mode": "chat", "retries": 1, "stream_interval": 2, "logprobs": True, "verify": False}
    engine = OpenAIEngine("M@2", URL, role="teacher", api_key="sekrit", tokenizer="Qwen/Qwen3-8B", **options)
    pickled = pickle.dumps(engine)
    assert b"sekrit" not in pickled
    monkeypatch.setenv("RELAY_TEACHER_API_KEY", "own")
    twin = pickle.loads(pickled)
    assert twin.spec == engine.spec == f"openai:M@2@{URL}"
    assert twin.patience == engine.patience
    address = twin._address
    assert (address.role, address.verify, address.api_key.get_secret_value()) == ("teacher", False, "own")
    assert (twin._chosen_mode, twin._logprobs, twin._tokenizer_source) == (Mode.CHAT, True, "Qwen/Qwen3-8B")
    assert twin._in_flight.stream_interval == 2


@pytest.mark.parametrize("option", ["headers", "query", "proxy", "tokenizer"])
def test_options_that_may_hold_secrets_or_objects_do_not_travel(option: str, tiny: Tokenizer) -> None:
    values: dict[str, Any] = {"headers": {"X-Key": "sekrit"}, "query": {"key": "sekrit"}, "tokenizer": tiny}
    values["proxy"] = "http://user:sekrit@localhost:3128"
    engine = OpenAIEngine("M", URL, **{option: values[option]})
    with pytest.raises(ConfigurationError, match=rf"cannot be pickled \(it was built with {option}=\)") as refused:
        pickle.dumps(engine)
    assert "sekrit" not in str(refused.value)


@pytest.mark.parametrize(("role", "name"), [("student", "bundled:student-relay"), ("teacher", "bundled:teacher")])
def test_a_bundled_model_is_found_anew(role: Any, name: str) -> None:
    engine = build("bundled", role=role, page_size=8, dtype="float32")
    pickled = pickle.dumps(engine)
    twin = pickle.loads(pickled)
    assert b"/" not in pickled  # its folder may be elsewhere in the other process
    assert (type(twin), twin.spec, twin.context_length) == (TransformersEngine, name, engine.context_length)
    assert (twin._batching, twin._dtype) == (engine._batching, "float32")  # type: ignore[attr-defined]


def test_a_folder_travels_as_its_path() -> None:
    from relay_core import bundled

    folder = Path(bundled.path("student-relay"))
    twin = sent(TransformersEngine(folder, spec="mine", max_requests=3))
    assert (twin.spec, twin._name, twin._batching.max_requests) == ("mine", str(folder), 3)
    vllm = sent(VLLMEngine(folder, logprobs=False, stream_interval=3, max_model_len=64))
    assert (vllm.spec, vllm.context_length, vllm._logprobs) == (f"vllm:{folder}", 64, False)
    assert vllm._in_flight.stream_interval == 3


def test_a_hub_token_does_not_travel() -> None:
    from relay_core import bundled

    with pytest.raises(ConfigurationError, match="HF_TOKEN") as refused:
        pickle.dumps(VLLMEngine(bundled.path("student-relay"), hf_token="sekrit"))
    assert "sekrit" not in str(refused.value)


def test_what_no_spec_names_says_what_to_write(tiny: Tokenizer) -> None:
    from relay_core import bundled

    scripted = ScriptedEngine("a")
    own_tokenizer = TransformersEngine(bundled.path("student-relay"), tiny)
    for engine in (scripted, Wrapped(scripted), Own(), own_tokenizer):
        with pytest.raises(ConfigurationError, match=r"cannot be pickled .*Relay\(student='transformers:PATH'"):
            pickle.dumps(engine)


def test_a_copy_of_an_engine_is_the_engine() -> None:
    for engine in (ScriptedEngine("a"), OpenAIEngine("M", URL, headers={"a": "b"}), Own(), build("bundled")):
        assert copy.copy(engine) is copy.deepcopy(engine) is copy.deepcopy([engine])[0] is engine


@pytest.mark.parametrize("kind", [TransformersEngine, VLLMEngine])
def test_a_relative_folder_is_found_from_another_one(
    kind: type[Engine], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_model.parent)
    pickled = pickle.dumps(kind(tiny_model.name))
    monkeypatch.chdir(tmp_path)
    assert pickle.loads(pickled).context_length == kind(tiny_model).context_length
