"""Saving a folder whole or not at all. Checking and loading are tested with the engine (``transformers/``)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from relay_core import bundled
from relay_core.engines.model_folder import check_folder, check_source, context_in, load_model, replacing, save_model
from relay_core.errors import ConfigurationError
from relay_core.tokenizer import Tokenizer


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_takes_its_place_when_it_is_whole(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "parent" / "model"
    if exists:
        folder.mkdir(parents=True)
        (folder / "old").touch()
    with replacing(folder) as temporary:
        (temporary / "new").touch()
        assert folder.exists() == exists
    assert names(folder) == ["new"]
    assert names(folder.parent) == ["model"]


def test_a_folder_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(FileExistsError), replacing(folder) as temporary:
        temporary.mkdir()  # it exists
    assert names(folder) == ["old"]
    assert names(tmp_path) == ["model"]


def test_a_saved_model_is_a_complete_folder(tmp_path: Path, tiny: Tokenizer) -> None:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=len(tiny.hf),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=16,
    )
    save_model(Qwen3ForCausalLM(config), tiny.hf, tmp_path / "model")
    check_folder(tmp_path / "model")
    assert Tokenizer.load(tmp_path / "model").shares_vocabulary(tiny)
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize(
    "index",
    [
        "[1]", "7", "null", '"x"', "{}", "{", "", "\\xff", '{"weight_map": []}', '{"weight_map": {}}',
        '{"weight_map": {"a": 1}}', '{"weight_map": {"a": ["b.safetensors"]}}', '{"weight_map": null}', "[" * 100_000,
        '{"weight_map": {"a": "model.safetensors", "b": "pytorch_model.bin"}}', '{"weight_map": {"a": "x.pt"}}',
    ],
)  # fmt: skip
def test_an_index_that_names_no_safetensors_is_refused(tmp_path: Path, index: str) -> None:
    for name in ("config.json", "tokenizer.json", "pytorch_model.bin", "model.safetensors", "x.pt", "b.safetensors"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "model.safetensors.index.json").write_bytes(b"\xff\xfe{" if index == "\\xff" else index.encode())
    with pytest.raises(ConfigurationError, match=r"index\.json"):
        check_source(str(tmp_path))


@pytest.mark.parametrize("config", ["[1]", "7", "null", "[" * 100_000, '{"a": ' * 50_000, "9" * 10_000])
def test_a_config_that_is_no_object_is_refused(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ConfigurationError, match=r"config\.json"):
        check_source(str(tmp_path))


def test_weights_that_a_config_names_are_safetensors(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"transformers_weights": "adapter_model.bin"}')
    with pytest.raises(ConfigurationError, match=r"adapter_model\.bin; only safetensors"):
        check_source(str(tmp_path))


def test_an_adapter_beside_a_model_is_refused(tmp_path: Path) -> None:
    for name in ("config.json", "adapter_config.json", "adapter_model.bin", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ConfigurationError, match="adapter"):
        check_source(str(tmp_path))


@pytest.mark.parametrize("method", ["is_dir", "is_file", "iterdir", "glob", "read_text"])
@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_folder_that_cannot_be_read_is_our_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, error: OSError
) -> None:
    if method != "iterdir":
        (tmp_path / "config.json").write_text("{}")

    def refuse(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Path, method, refuse)
        with pytest.raises(ConfigurationError, match=r"Permission denied|Input/output error"):
            check_source(str(tmp_path))


@pytest.mark.parametrize("source", ["a\0b", "~nobody-of-this-name/model", "x" * 5000, "a/b/c"])
def test_a_name_that_no_folder_can_have_is_our_error(source: str) -> None:
    with pytest.raises(ConfigurationError):
        check_source(source)


@pytest.mark.parametrize(("length", "context"), [(5, 5), (0, None), (-1, None), (True, None), ("5", None), (1.5, None)])
def test_a_context_length_is_a_positive_whole_number(length: object, context: int | None) -> None:
    assert context_in({"max_position_embeddings": length}) == context


def test_models_are_loaded_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    load, loading, met = AutoModelForCausalLM.from_pretrained, threading.Semaphore(1), []

    def observed(*arguments: Any, **options: Any) -> Any:
        met.append(loading.acquire(blocking=False))
        try:
            return load(*arguments, **options)
        finally:
            loading.release()

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", observed)
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(load_model, [str(bundled.path("student-base"))] * 3))
    assert met == [True] * 3
