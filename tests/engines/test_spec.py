import pickle
from pathlib import Path

import pytest

from relay_core import ConfigurationError, Relay, bundled, engine_from_spec
from relay_core.engines.spec import EngineSpec


@pytest.mark.parametrize("spec", ["", "  ", None, 7, "ollama:llama3", "transformers:", "vllm: ", "openai:"])
def test_a_spec_that_cannot_be_read_says_what_is_accepted(spec: object) -> None:
    with pytest.raises(ConfigurationError, match=r"openai:MODEL@BASE_URL"):
        engine_from_spec(spec)


@pytest.mark.parametrize("spec", ["openai:Qwen3-8B", "openai:Qwen3-8B@localhost:8000", "openai:@http://localhost/v1"])
def test_an_endpoint_needs_a_model_and_a_url(spec: str) -> None:
    with pytest.raises(ConfigurationError, match="such as openai:Qwen3-8B@http://localhost:8000/v1"):
        engine_from_spec(spec)


def test_an_endpoint() -> None:
    engine = engine_from_spec("openai:Qwen/Qwen3-8B@http://host:8000/v1")
    assert type(engine).__name__ == "OpenAIEngine"


def test_an_endpoint_with_a_password_in_its_url_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError, match="user name or password") as refused:
        engine_from_spec("openai:Qwen/Qwen3-8B@http://user:secret@host:8000/v1")
    assert "secret" not in str(refused.value)


def test_an_endpoint_with_a_query_in_its_url_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError, match="give a key as api_key=") as refused:
        engine_from_spec("openai:Qwen/Qwen3-8B@http://host:8000/v1?api_key=secret")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("spec", ["transformers:{}", "{}", " {} "])
def test_a_folder_without_a_model(spec: str, tmp_path) -> None:
    with pytest.raises(ConfigurationError):
        engine_from_spec(spec.format(tmp_path))


def test_a_bundled_model_that_there_is_not() -> None:
    with pytest.raises(ConfigurationError, match="bundled"):
        engine_from_spec("bundled:nobody")
    with pytest.raises(ConfigurationError, match="bundled"):
        engine_from_spec("bundled:")


@pytest.mark.parametrize("model", ["org@model", "@cf/meta/llama-3.1-8b", "a@b@c", "claude@20250101", "org/m@v1.2"])
@pytest.mark.parametrize("url", ["http://host:8000/v1", "https://h/v1/@cf/x"])
def test_a_model_may_have_an_at_sign_in_its_name(model: str, url: str) -> None:
    spec = EngineSpec.parse(f"openai:{model}@{url}")
    assert (spec.model, spec.base_url) == (model, url)
    assert str(spec) == f"openai:{model}@{url}"
    assert EngineSpec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    "spec",
    ["openai:m@user:hunter2@host/v1", "openai:m@host/v1?key=hunter2", "opneai:m@http://user:hunter2@host/v1",
     "opneai:m@http://host/v1?key=hunter2", "http://user:hunter2@host/v1", "openai:@http://user:hunter2@host/v1",
     "openai:m@http://user:hunter2@host/v1", "openai:m@http://user:hun/ter2@host/v1", "openai:m@ftp://u:hunter2@host",
     "openai:m@http://host:hunter2/v1", "openai:m@http://host/v1#hunter2",
     "openai:m@hunter2@host", "openai:user:hunter2@host", "openai:m:hunter2", "openai:m#hunter2",
     "user:hunter2@host", "user:hunter2", "opneai:hunter2", "openai:m@user:hunter2", "m@hunter2", "m#hunter2",
     "opneai:m@user:hunter2@host:80/v1",
     "http:hunter2@host", "user:hunter2@host?retries=2", "user@hunter2:", "user@hunter2: ",
     "transformers:m@user:hunter2@host", "transformers:http://user:hunter2@host/m", "vllm:user:hunter2@host",
     "vllm:https://hunter2@host/m", "bundled:user:hunter2@host", "bundled:http://user:hunter2@host",
     "bundled?hunter2", "openai:m@http://host/v1?hunter2", "openai:m@http://host/v1?retries=2&hunter2",
     "openai:m@http://host/v1?hun-ter2=3", "openai:m@http://host/v1?hunter2_key", {"api_key": "hunter2"}, ("hunter2",),
     b"openai:m@http://host?api_key=hunter2"],
)  # fmt: skip
def test_a_spec_with_a_secret_is_refused_without_showing_it(spec: object) -> None:
    with pytest.raises(ConfigurationError) as refused:
        engine_from_spec(spec)
    assert "ter2" not in str(refused.value)


@pytest.mark.parametrize("spec", ["gpt-4o-mini", "gpt-4o", "gpt2", "claude", " student ", "gpt2?key=sk-secret"])
def test_a_word_that_is_no_folder_and_no_hub_id_is_refused_at_once(spec: str) -> None:
    with pytest.raises(ConfigurationError, match=r"openai:MODEL@BASE_URL") as refused:
        engine_from_spec(spec)
    word = spec.strip().partition("?")[0]
    assert f"openai:{word}@BASE_URL" in str(refused.value)
    assert f"transformers:{word}" in str(refused.value)
    assert "sk-secret" not in str(refused.value)


def test_a_word_is_a_folder_if_there_is_one_or_a_hub_id_after_its_scheme(tmp_path, monkeypatch) -> None:
    assert engine_from_spec("transformers:gpt2").spec == "transformers:gpt2"
    assert engine_from_spec("openai-community/gpt2").spec == "transformers:openai-community/gpt2"
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=r"mine has no config\.json"):
        engine_from_spec("mine")


def test_a_path_is_the_spec_of_its_folder(tmp_path, monkeypatch) -> None:
    folder = bundled.path("student-base")
    engine = engine_from_spec(folder)
    assert engine.spec == f"transformers:{folder}"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundled").symlink_to(folder)  # a path is no word of a spec
    assert engine_from_spec(Path("bundled")).spec == "transformers:bundled"
    relay = Relay(folder, Path("bundled"))
    assert pickle.loads(pickle.dumps(relay)).teacher.spec == "transformers:bundled"


@pytest.mark.parametrize(
    "path", [Path("nowhere"), Path("owner/name"), Path("gpt2"), Path("/nowhere/a?b"), Path(__file__)]
)
def test_a_path_without_a_folder_is_refused_and_named(path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        engine_from_spec(path)
    assert str(path) in str(refused.value)
