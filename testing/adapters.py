"""Random LoRA adapters in peft's format, which change their base's answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch


def make_adapter(base: str | Path, folder: Path, *, r: int = 4, scale: float = 0.2, seed: int = 0) -> Path:
    """Write an adapter of ``base`` into ``folder``, without a tokenizer.

    Args:
        base: the folder of a whole model; the adapter's config names it.
        folder: where the adapter is written.
        r: the rank.
        scale: the standard deviation of the values of B, which peft initialises with zeros.
        seed: decides the values.
    """
    wrapped = wrap(base, r=r, scale=scale, seed=seed)
    wrapped.save_pretrained(str(folder), save_embedding_layers=False)
    change_config(folder, base_model_name_or_path=str(base))
    return folder


def wrap(base: str | Path, *, r: int = 4, scale: float = 0.2, seed: int = 0) -> Any:
    """A peft model around the model in ``base``, with the weights that :func:`make_adapter` writes."""
    from peft import LoraConfig, PeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype="float32")
    config = LoraConfig(task_type="CAUSAL_LM", r=r, lora_alpha=2 * r, target_modules="all-linear")
    wrapped = PeftModelForCausalLM(model, config)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=scale)
    return wrapped.eval()


def change_config(folder: Path, **values: Any) -> None:
    """Replace values of an adapter's config; ``None`` removes them."""
    file = folder / "adapter_config.json"
    config = {**json.loads(file.read_text()), **values}
    file.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))
