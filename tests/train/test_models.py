"""A student's weights: found by a spec, loaded to be trained, saved as a whole model or as an adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from relay_core import ConfigurationError, bundled
from relay_core.engines.model_source import ModelSource
from relay_core.train import models
from relay_core.train.models import folder_of
from relay_core.train.sections import Lora


@pytest.mark.parametrize(
    ("spec", "folder"),
    [
        ("bundled", str(bundled.WEIGHTS / "student-base")),
        ("bundled:student-warm", str(bundled.WEIGHTS / "student-warm")),
        ("transformers:Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("./student", "./student"),
    ],
)
def test_the_folder_of_a_student(spec, folder):
    assert folder_of(spec) == folder


@pytest.mark.parametrize("spec", ["vllm:Qwen/Qwen3-0.6B", "openai:m@http://x/v1"])
def test_a_student_outside_this_process_cannot_be_trained(spec):
    with pytest.raises(ConfigurationError, match="cannot be trained here: write bundled:NAME"):
        folder_of(spec)


LORA = Lora(r=4, merge=False)


def trained(folder: Path, lora: Lora, *, base: str | None = None) -> tuple[Any, Any]:
    """A student, with its trained weights moved."""
    model, tokenizer = models.trainable(str(folder), lora, base or str(folder), seed=0)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model, tokenizer


def logits_of(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.arange(1, 9)[None]).logits.float()


@pytest.mark.parametrize("lora", [Lora(), Lora(r=4), LORA, Lora(r=4, dtype="bfloat16")])
def test_a_saved_student_is_loaded_by_an_engine_and_answers_as_it_did(
    model_folder: Path, tmp_path: Path, lora: Lora
) -> None:
    model, tokenizer = trained(model_folder, lora)
    expected = logits_of(model)
    models.save(model, tokenizer, tmp_path / "student", lora)
    assert models.is_saved(tmp_path / "student")
    assert (tmp_path / "student" / "config.json").is_file() == (lora.r == 0 or lora.merge)
    source = ModelSource.of(str(tmp_path / "student"))
    assert source.load_tokenizer().hf.chat_template == tokenizer.chat_template
    tolerance = 1e-4 if lora.dtype == "float32" else 0.03
    assert torch.allclose(logits_of(source.load()), expected, atol=tolerance)
    assert (expected - logits_of(models.load(str(model_folder))[0])).abs().max() > tolerance


def test_an_adapter_is_trained_on_relative_to_the_plain_base(model_folder: Path, tmp_path: Path) -> None:
    model, tokenizer = trained(model_folder, LORA)
    models.save(model, tokenizer, tmp_path / "warm", LORA)
    warm, _ = models.trainable(str(tmp_path / "warm"), LORA, str(model_folder), seed=0)
    assert torch.allclose(logits_of(warm), logits_of(model), atol=1e-6)
    student, tokenizer = trained(tmp_path / "warm", LORA, base=str(model_folder))
    expected = logits_of(student)
    models.save(student, tokenizer, tmp_path / "relay", LORA)
    assert models.base_of(str(tmp_path / "relay")) == str(model_folder)
    assert torch.allclose(logits_of(ModelSource.of(str(tmp_path / "relay")).load()), expected, atol=1e-4)


def test_the_named_base_of_an_adapter_is_the_recipes(model_folder: Path, tmp_path: Path) -> None:
    lora = Lora(r=4, merge=False, base="owner/base")
    model, tokenizer = trained(model_folder, lora)
    models.save(model, tokenizer, tmp_path / "warm", lora)
    assert models.base_of(str(tmp_path / "warm")) == "owner/base"
    again, _ = models.trainable(str(tmp_path / "warm"), lora, str(model_folder), seed=0)
    assert torch.allclose(logits_of(again), logits_of(model), atol=1e-6)
    assert models.base_of(str(model_folder)) == str(model_folder)
    assert models.base_of(f"{tmp_path / 'warm'}?base={model_folder}") == str(model_folder)


def test_the_recipes_name_of_the_base_replaces_the_folder_that_an_earlier_stage_wrote(
    model_folder: Path, tmp_path: Path
) -> None:
    model, tokenizer = trained(model_folder, LORA)
    models.save(model, tokenizer, tmp_path / "warm", LORA)
    assert models.base_of(str(tmp_path / "warm")) == str(model_folder)
    named = Lora(r=LORA.r, merge=False, base="owner/base")
    model, tokenizer = trained(tmp_path / "warm", named, base=str(model_folder))
    models.save(model, tokenizer, tmp_path / "relay", named)
    assert models.base_of(str(tmp_path / "relay")) == "owner/base"


def test_an_adapter_is_not_trained_as_a_whole_model(model_folder: Path, tmp_path: Path) -> None:
    model, tokenizer = trained(model_folder, LORA)
    models.save(model, tokenizer, tmp_path / "warm", LORA)
    with pytest.raises(ConfigurationError, match=r"is an adapter, and lora\.r is 0: write the adapter's rank"):
        models.trainable(str(tmp_path / "warm"), Lora(), str(model_folder), seed=0)


def test_a_student_that_cannot_be_written_leaves_the_folder_as_it_was(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = trained(model_folder, LORA)
    models.save(model, tokenizer, tmp_path / "warm", LORA)
    before = (tmp_path / "warm" / "adapter_model.safetensors").read_bytes()
    model, _ = trained(tmp_path / "warm", LORA, base=str(model_folder))
    monkeypatch.setattr(type(tokenizer), "save_pretrained", lambda *_, **__: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        models.save(model, tokenizer, tmp_path / "warm", LORA)
    assert (tmp_path / "warm" / "adapter_model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["warm"]
