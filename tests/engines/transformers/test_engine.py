"""TransformersEngine's arguments: folders, other models, options."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from transformers import Qwen3ForCausalLM

from relay_core.engines.transformers import TransformersEngine
from relay_core.errors import ConfigurationError
from relay_core.tokenizer import Tokenizer
from testing.tiny_transformers import PROMPTS, collect, generate


async def test_a_folder_is_loaded_when_started(tmp_path: Path, model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
    model.save_pretrained(tmp_path)
    tokenizer.hf.save_pretrained(tmp_path)
    engine = TransformersEngine(tmp_path)
    assert engine.context_length == 256
    assert engine.spec == f"transformers:{tmp_path}"
    assert not engine.running
    try:
        assert (await collect(engine, PROMPTS[0]))[0] == generate(model, PROMPTS[0])
        assert engine.tokenizer.fingerprint == tokenizer.fingerprint
        assert engine.describe()["parameters"] == sum(p.numel() for p in model.parameters())
    finally:
        await engine.aclose()


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_text("{}" if name.endswith(".json") else "weights")
    return folder


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ((), "config.json.*empty"),
        (("model.safetensors", "tokenizer.json"), "no config.json.*model.safetensors"),
        (("config.json", "tokenizer.json"), "no weights"),
        (("config.json", "pytorch_model.bin", "tokenizer.json"), "pytorch_model.bin.*only safetensors"),
        (("config.json", "model.gguf", "tokenizer.json"), "model.gguf.*only safetensors"),
        (("config.json", "model.safetensors"), "no tokenizer"),
        (("adapter_config.json", "adapter_model.safetensors"), "adapter"),
    ],
)
def test_a_bad_folder_is_refused_before_anything_is_loaded(
    tmp_path: Path, files: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        TransformersEngine(fill(tmp_path, *files))


def test_other_bad_models(tmp_path: Path, model: Qwen3ForCausalLM) -> None:
    with pytest.raises(ConfigurationError, match=r"no folder.*accepted|no folder.*write"):
        TransformersEngine(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigurationError, match="is a file"):
        TransformersEngine(fill(tmp_path, "model.safetensors") / "model.safetensors")
    with pytest.raises(ConfigurationError, match="needs its tokenizer"):
        TransformersEngine(model)
    with pytest.raises(ConfigurationError, match="model is a int"):
        TransformersEngine(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="dtype"):
        TransformersEngine("some/model", dtype="int4")
    fill(tmp_path, "config.json", "tokenizer.json")
    (tmp_path / "config.json").write_text("{not json")
    with pytest.raises(ConfigurationError, match=r"config.json cannot be read"):
        TransformersEngine(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ConfigurationError, match=r"lacks model-1\.safetensors"):
        TransformersEngine(tmp_path)


@pytest.mark.parametrize("option", ["cuda_graphs", "async_batching"])
async def test_options_for_cuda_are_refused_on_a_cpu(
    model: Qwen3ForCausalLM, tokenizer: Tokenizer, option: str
) -> None:
    engine = TransformersEngine(copy.deepcopy(model), tokenizer, **{option: True})
    with pytest.raises(ConfigurationError, match=f"{option} is True, but the model is on 'cpu'"):
        await engine.start()
    assert not engine.running


async def test_incomplete_or_unreadable_weights_are_refused_when_started(
    tmp_path: Path, model: Qwen3ForCausalLM, tokenizer: Tokenizer
) -> None:
    tokenizer.hf.save_pretrained(tmp_path)
    state = {k: v for k, v in model.state_dict().items() if "layers.1" not in k}
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ConfigurationError, match=r"lack \d+ tensors: .*layers\.1"):
        await TransformersEngine(tmp_path).start()
    (tmp_path / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0garbage")
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        await TransformersEngine(tmp_path).start()
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        await TransformersEngine("no-such-owner/no-such-model", tokenizer).start()
