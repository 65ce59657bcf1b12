"""Whole models, and adapters with their bases, as the engines load them."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

from relay_core import Relay, TransformersEngine, bundled, engine_from_spec, hub
from relay_core.bundled import task
from relay_core.engines.adapter_folder import BASE_VARIABLE
from relay_core.engines.model_folder import check_folder, load_model, save_model
from relay_core.engines.model_source import ModelSource
from relay_core.engines.spec import EngineSpec
from relay_core.engines.vllm import VLLMEngine
from relay_core.errors import ConfigurationError
from relay_core.tokenizer import Tokenizer
from testing.adapters import change_config, make_adapter

BASE = bundled.WEIGHTS / "student-base"
QUESTION = task.problems(1, split="test", seed=10)[0].messages


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(BASE, tmp_path_factory.mktemp("adapters") / "adapter", scale=2.0)


@pytest.fixture
def adapter(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "adapter"))


def answer(engine: TransformersEngine) -> str:
    with Relay(engine, None) as relay:
        return relay.generate(list(QUESTION), max_tokens=40, temperature=0.0, calls=False).text


def test_an_adapter_answers_as_its_merged_model_does(adapter: Path, tmp_path: Path) -> None:
    source = ModelSource.of(str(adapter))
    assert (source.weights, source.adapter, source.context) == (str(BASE), adapter, ModelSource.of(str(BASE)).context)
    merged = tmp_path / "merged"
    save_model(source.load(), source.load_tokenizer().hf, merged)
    text = answer(TransformersEngine(adapter))
    assert text == answer(TransformersEngine(merged)) != answer(TransformersEngine(BASE))


def test_the_base_is_an_option_of_a_spec(adapter: Path) -> None:
    text = answer(TransformersEngine(adapter))
    change_config(adapter, base_model_name_or_path="/no/such/base")
    for spec in (f"transformers:{adapter}?base={BASE}", f"{adapter}?base={BASE}", f"{adapter}?base=bundled:x"):
        assert EngineSpec.parse(str(EngineSpec.parse(spec))) == EngineSpec.parse(spec)
    engine = engine_from_spec(f"{adapter}?base={BASE}&dtype=float32")
    assert isinstance(engine, TransformersEngine)
    again = pickle.loads(pickle.dumps(engine))
    assert {"adapter": str(adapter), "base": str(BASE)}.items() <= again.describe().items()
    assert answer(again) == text == answer(TransformersEngine(adapter, base=BASE))
    with pytest.raises(ConfigurationError, match=r"no folder /no/such/base.*\?base=PATH_OR_ID"):
        engine_from_spec(str(adapter))


def test_a_base_that_the_hub_does_not_give_is_asked_of_the_user(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(source: str) -> None:
        raise ConfigurationError(f"{source} is no folder, and the hub did not answer")

    monkeypatch.setattr(hub, "download_options", unreachable)
    change_config(adapter, base_model_name_or_path="owner/base")
    source = ModelSource.of(str(adapter))
    for load in (source.load, source.load_tokenizer):
        with pytest.raises(ConfigurationError, match=rf"adapter {adapter}: owner/base is no folder.*; or name it as"):
            load()


def test_a_base_beside_a_whole_model_is_refused(adapter: Path) -> None:
    for engine in (TransformersEngine, VLLMEngine):
        with pytest.raises(ConfigurationError, match="only an adapter has a base"):
            engine(str(BASE), base=str(BASE))
    loaded = load_model(str(BASE), device="cpu")
    with pytest.raises(ConfigurationError, match="base belongs to the folder of an adapter"):
        TransformersEngine(loaded, Tokenizer.load(BASE), base=BASE)


def test_tokenizer_and_template_are_the_adapters_if_it_has_them(adapter: Path) -> None:
    own = ModelSource.of(str(BASE)).load_tokenizer()
    assert ModelSource.of(str(adapter)).load_tokenizer().hf.chat_template == own.hf.chat_template
    (adapter / "chat_template.jinja").write_text("{{ messages }}")
    template_only = ModelSource.of(str(adapter)).load_tokenizer()
    assert template_only.hf.chat_template == "{{ messages }}" and template_only.shares_vocabulary(own)
    own.hf.add_tokens(["<word>"])
    own.hf.chat_template = None
    (adapter / "chat_template.jinja").unlink()
    own.hf.save_pretrained(adapter)
    both = ModelSource.of(str(adapter)).load_tokenizer()
    assert "<word>" in both.hf.get_vocab()
    assert both.hf.chat_template == Tokenizer.load(BASE).hf.chat_template


def test_a_base_without_a_tokenizer_is_enough_if_the_adapter_has_one(adapter: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(BASE / name, bare)
    with pytest.raises(ConfigurationError, match="has no tokenizer"):
        ModelSource.of(str(adapter), bare)
    assert ModelSource.of(str(adapter), bare, tokenizer=False).weights == str(bare)
    Tokenizer.load(BASE).hf.save_pretrained(adapter)
    assert ModelSource.of(str(adapter), bare).weights == str(bare)


def test_a_whole_folder_with_the_merged_weights_is_there_for_a_while(adapter: Path) -> None:
    source = ModelSource.of(str(adapter))
    with source.whole_folder(source.load_tokenizer()) as folder:
        check_folder(Path(folder))
        assert str(Path(folder)) != str(BASE)
    assert not Path(folder).parent.exists()
    with ModelSource.of(str(BASE)).whole_folder(source.load_tokenizer()) as folder:
        assert folder == str(BASE)
    assert BASE.is_dir()


def test_an_adapter_on_the_hub_is_downloaded_and_merged(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def folder_with(source: str, name: str, patterns: object) -> str | None:
        asked.append((source, name))
        return str(adapter) if source == "owner/adapter" else None

    monkeypatch.setattr(hub, "folder_with", folder_with)
    source = ModelSource.of("owner/adapter")
    assert not asked  # nothing is asked before the model is loaded
    assert source.load_tokenizer().shares_vocabulary(Tokenizer.load(BASE))
    assert source.load().num_parameters() == load_model(str(BASE)).num_parameters()
    assert asked == [("owner/adapter", "adapter_config.json")] * 2
    with pytest.raises(ConfigurationError, match="owner/model is no adapter, and base is owner/base"):
        ModelSource.of("owner/model", "owner/base").load()


def test_a_bundled_adapter_needs_the_users_base(adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = answer(TransformersEngine(adapter))
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path)
    monkeypatch.setattr(bundled, "NAMES", ("adapter",))
    change_config(adapter, base_model_name_or_path="/no/such/base")
    with pytest.raises(ConfigurationError, match=rf"no folder /no/such/base.*\?base=PATH_OR_ID.*{BASE_VARIABLE}"):
        engine_from_spec("bundled:adapter")
    engine = engine_from_spec(f"bundled:adapter?base={BASE}")
    assert isinstance(engine, TransformersEngine)
    assert answer(pickle.loads(pickle.dumps(engine))) == text
    monkeypatch.setenv(BASE_VARIABLE, str(BASE))
    engine = engine_from_spec("bundled:adapter")
    assert isinstance(engine, TransformersEngine)
    assert answer(engine) == text
