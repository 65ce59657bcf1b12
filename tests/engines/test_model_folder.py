"""Saving a folder whole or not at all. Checking and loading are tested with the engine (``transformers/``)."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay_core.engines.model_folder import check_folder, replacing, save_model
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
