"""``live`` with ``grpo.sampling_dtype``: the student decodes on a copy of the weights, in another dtype.

Take it where the sampler should be faster than the trainer's float32 weights, such as with bfloat16 on a CPU that
computes in it, or to train an adapter: the copy has the adapter merged, so that decoding does not pay for it. It costs
the memory of the copy. In another dtype, the sampler's log-probabilities differ from the trainer's by more than
rounding (``sampler_gap`` in the figures shows by how much), and the loss does not correct for that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from relay_core.train.policies.live import LivePolicy


class CopiedPolicy(LivePolicy):
    """Copies the trainer's weights before each rollout.

    Args:
        tokenizer: the student's tokenizer.
        dtype: the dtype of the copy, such as ``bfloat16``.
        frees_cache: as for :class:`LivePolicy`.
    """

    def __init__(self, tokenizer: Any, dtype: str, *, frees_cache: bool | None = None) -> None:
        super().__init__(tokenizer, frees_cache=frees_cache)
        self._dtype = dtype
        self._copy: Any = None

    def _decoding(self, model: Any) -> Any:
        """A model of the same shape without adapters, in the copy's dtype; its weights come before each rollout."""
        import torch
        from transformers import AutoModelForCausalLM

        config = _base(model).config
        self._copy = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, self._dtype))
        self._copy.generation_config = _base(model).generation_config
        return self._copy.to(next(model.parameters()).device).eval().requires_grad_(False)

    @contextlib.contextmanager
    def generating(self, trainer: Any) -> Iterator[None]:
        """Let the engine generate with a copy of the current weights of the trainer's model."""
        copy_weights(trainer.model, self._copy)
        with super().generating(trainer):
            yield


def copy_weights(source: Any, target: Any) -> None:
    """Copy the weights of a model, with its adapter merged, into a model without adapters."""
    import torch

    base = _base(source)
    adapted = {name: module for name, module in base.named_modules() if hasattr(module, "get_delta_weight")}
    weights = {name: weight for name, weight in base.named_parameters() if ".lora_" not in name}
    with torch.no_grad():
        for name, weight in weights.items():
            owner, inside, rest = name.rpartition(".base_layer.")
            value = weight
            if inside and rest == "weight":
                module = adapted[owner]
                value = weight + sum(module.get_delta_weight(adapter) for adapter in module.active_adapters)
            target.get_parameter(f"{owner}.{rest}" if inside else name).copy_(value)
        for name, buffer in base.named_buffers():
            with contextlib.suppress(AttributeError):  # a buffer of an adapter
                target.get_buffer(name).copy_(buffer)


def _base(model: Any) -> Any:
    """The model below its adapters."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
