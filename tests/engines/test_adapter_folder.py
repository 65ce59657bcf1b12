"""LoRA adapters: checked before anything is loaded, and merged into the weights of their base."""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from relay_core import bundled
from relay_core.engines import base_sample
from relay_core.engines.adapter_folder import BASE_VARIABLE, CONFIG, WEIGHTS, base_of, check_adapter, merged
from relay_core.engines.model_folder import load_model
from relay_core.errors import ConfigurationError, MissingExtraError
from testing.adapters import change_config, make_adapter, wrap

BASE = bundled.WEIGHTS / "student-base"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(BASE, tmp_path_factory.mktemp("adapters") / "adapter")


@pytest.fixture
def adapter(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "adapter"))


def base(dtype: str = "float32") -> Any:
    return load_model(str(BASE), dtype=dtype, device="cpu")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.5)])
def test_a_merged_model_computes_what_base_and_adapter_compute(adapter: Path, dtype: str, tolerance: float) -> None:
    ids = torch.arange(1, 40)[None]
    with torch.no_grad():
        expected, plain = wrap(BASE)(ids).logits, base()(ids).logits
        model = merged(base(dtype), adapter)
        logits = model(ids).logits.float()
    assert (expected - plain).abs().max() > 1.0  # the adapter changes the model
    assert (logits - expected).abs().max() < tolerance
    assert str(model.dtype) == f"torch.{dtype}"
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert not any("lora" in name for name, _ in model.named_parameters())


def test_the_base_is_that_of_the_argument_the_environment_or_the_config(
    adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert base_of(adapter) == str(BASE)
    monkeypatch.setenv(BASE_VARIABLE, str(bundled.WEIGHTS / "student-warm"))
    assert base_of(adapter) == str(bundled.WEIGHTS / "student-warm")
    assert base_of(adapter, "owner/model") == "owner/model"


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (None, r"names no base: name it as base=PATH_OR_ID, behind a spec as \?base=PATH_OR_ID"),
        ("/no/such/base", r"base of the adapter .*there is no folder /no/such/base.* if the base lies elsewhere, name"),
        (7, "names no base"),
    ],
)
def test_a_base_that_is_not_there(adapter: Path, named: Any, message: str) -> None:
    change_config(adapter, base_model_name_or_path=named)
    with pytest.raises(ConfigurationError, match=message):
        base_of(adapter)


def test_a_base_that_the_user_names_wrongly_is_shown_beside_the_one_that_it_was_trained_on(adapter: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"trained on {BASE}: there is no folder /no/such/base"):
        base_of(adapter, "/no/such/base")
    with pytest.raises(ConfigurationError, match="is an adapter; here, a whole model is needed"):
        base_of(adapter, str(adapter))


def _only_pickled(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: change_config(f, peft_type="IA3"), "of the kind 'IA3'; only LORA adapters"),
        (lambda f: change_config(f, peft_type=None), "of the kind None"),
        (lambda f: (f / CONFIG).write_text("[]"), "holds no JSON object"),
        (lambda f: (f / CONFIG).write_bytes(b"\xff"), "cannot be read"),
        (_only_pickled, rf"has no {WEIGHTS} but adapter_model.bin; only safetensors"),
        (lambda f: (f / WEIGHTS).unlink(), rf"has no {WEIGHTS} but nothing"),
        (lambda f: (f / "model.safetensors").touch(), "holds an adapter and a whole model"),
    ],
)
def test_a_folder_that_cannot_be_used(adapter: Path, spoil: Any, message: str) -> None:
    spoil(adapter)
    with pytest.raises(ConfigurationError, match=message):
        check_adapter(adapter)


def _rewrite(folder: Path, change: Any) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def _of_another_size(tensors: dict[str, torch.Tensor]) -> None:
    for name in tensors:
        if "lora_A" in name:
            tensors[name] = torch.zeros(4, 8)


def _of_more_layers(tensors: dict[str, torch.Tensor]) -> None:
    for name in list(tensors):
        if ".layers.0." in name:
            tensors[name.replace(".layers.0.", ".layers.99.")] = tensors[name].clone()


def _of_fewer_layers(tensors: dict[str, torch.Tensor]) -> None:
    for name in [name for name in tensors if ".layers.0." in name]:
        del tensors[name]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda f: _rewrite(f, _of_another_size),
            r"tensor .*lora_A.* has the shape \(4, 8\), where .* needs \(4,",
        ),
        (lambda f: _rewrite(f, _of_more_layers), r"no place for its tensor .*layers\.99\."),
        (
            lambda f: _rewrite(f, _of_fewer_layers),
            r"lacks \d+ tensors for the layers .* such as .*layers\.0\.",
        ),
        (lambda f: change_config(f, target_modules=["c_attn"]), "does not fit this base: .*c_attn"),
        (lambda f: (f / WEIGHTS).write_bytes(b"garbage" * 9), "does not fit this base"),
    ],
)
def test_an_adapter_of_another_base_is_refused(
    adapter: Path, spoil: Any, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    base_sample.write({"model.embed_tokens.weight": [1.0]}, adapter)
    spoil(adapter)
    with pytest.raises(ConfigurationError, match=message) as raised:
        merged(base(), adapter)
    assert f"it was trained on {BASE}" in str(raised.value)
    assert not caplog.records


def test_an_adapter_of_a_larger_vocabulary_is_refused(adapter: Path, qwen3_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(qwen3_path / name, adapter)
    with pytest.raises(ConfigurationError, match=r"its tokenizer has 151\d{3} tokens, the embedding of the base"):
        merged(base(), adapter)


def test_another_base_of_the_same_shape_is_a_warning(
    adapter: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    base_sample.write(base_sample.sample_of(base()), adapter)
    with caplog.at_level(logging.WARNING):
        merged(base(), adapter)
        assert not caplog.records
        merged(load_model(str(bundled.WEIGHTS / "student-warm"), dtype="float32", device="cpu"), adapter)
    assert f"was trained on {BASE}" in caplog.text and "other weights than those of this base" in caplog.text


def test_without_peft_the_error_names_the_extra(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"a LoRA adapter \(peft\) needs packages"):
        merged(base(), adapter)
