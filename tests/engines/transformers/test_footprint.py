"""What a model takes, from its folder alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from relay_core import ConfigurationError, bundled
from relay_core.engines.transformers.footprint import footprint_of, footprint_of_model
from testing.tiny_transformers import make_model

TINY = 2 * 2 * 2 * 8  # keys and values, layers, heads, dimensions: elements a token


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_folder_says_what_the_loaded_model_takes(tmp_path: Path, dtype: str) -> None:
    make_model().to(torch.bfloat16).save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1, "several files, by an index"
    sizes = footprint_of(tmp_path, dtype)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=dtype)
    loaded = footprint_of_model(model)
    assert sizes.weights == sum(p.numel() * p.element_size() for p in model.parameters())
    assert sizes.token == loaded.token == TINY * getattr(torch, dtype).itemsize
    assert sizes.context == loaded.context == 256
    assert sizes.is_mapped is (dtype == "bfloat16")


def test_auto_is_the_checkpoints_dtype() -> None:
    folder = Path(bundled.path("teacher"))
    assert footprint_of(folder, "auto").weights == pytest.approx(
        (folder / "model.safetensors").stat().st_size, rel=0.01
    )


def test_integers_keep_their_size(tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path)
    plain = footprint_of(tmp_path, "bfloat16").weights
    save_file({"packed": torch.zeros(100, dtype=torch.int8)}, tmp_path / "model.safetensors")
    assert plain > footprint_of(tmp_path, "bfloat16").weights == 100


def test_weights_that_cannot_be_read_are_a_clear_error(tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x05\0\0\0\0\0\0\0nonsense")
    with pytest.raises(ConfigurationError, match="is not a safetensors file"):
        footprint_of(tmp_path, "auto")
