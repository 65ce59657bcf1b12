"""The memory of one forward and backward pass, found without a model: the pass runs on fake tensors, which have a shape
and a device but no data (torch's ``FakeTensorMode``), and every storage that comes and goes is counted.

The pass is that of both trainers: the model with an attention mask, then TRL's fused head, which scores the tokens in
tiles. What the attention kernels and the allocator need for themselves is not counted.
"""

from __future__ import annotations

import warnings
import weakref
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

TILE = (4096, 32768)
"""Tokens and entries of the vocabulary that TRL's head scores at once."""
TILE_COPIES = {"cpu": 7.25, "cuda": 0.0}
"""Temporary copies of a tile, in float32: TRL's kernel on a GPU needs none, its torch code on a CPU has so many."""


def pass_bytes(
    config: Any, *, rows: int, length: int, device: str, autocast: bool, checkpointing: bool, with_gradients: bool
) -> int:
    """The most bytes that a forward and backward pass takes at a time, beside weights and gradients.

    Args:
        config: of a causal language model.
        rows, length: the shape of the batch, in tokens.
        device: the type of device to which the pass belongs, such as ``"cuda"``.
        autocast: whether matrices are multiplied in bfloat16 (the trainers' ``bf16``); the weights are in float32.
        checkpointing: whether layers are computed anew in the backward pass (``gradient_checkpointing``).
        with_gradients: whether gradients are there from an earlier micro-batch, so that they are added up.
    """
    from transformers import AutoModelForCausalLM

    with FakeTensorMode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        model.train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
        if with_gradients:
            for parameter in model.parameters():
                parameter.grad = torch.empty_like(parameter)
        ids = torch.zeros(rows, length, dtype=torch.int64)
        mask = torch.ones(rows, 1, length, length, dtype=torch.bool)
        live = _Live()
        with live:
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                hidden = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
                copies = TILE_COPIES.get(device, 0.0)
                scores = _Head.apply(hidden.flatten(0, 1), model.get_output_embeddings().weight, copies)
            scores.sum().backward()
        gradients = 0 if with_gradients else sum(p.numel() * p.element_size() for p in model.parameters())
    size: int = max(0, live.peak - gradients) + mask.numel()
    return size


class _Live(TorchDispatchMode):  # type: ignore[misc]
    """Counts the bytes of all storages that operations create, from their creation to their end."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {id(t.untyped_storage()) for t in _tensors((args, kwargs or {}))}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if id(storage) not in before and id(storage) not in self._known:
                self._add(storage)
        return result

    def _add(self, storage: Any) -> None:
        key, size = id(storage), storage.nbytes()

        def ended(_: Any) -> None:
            self.now -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, ended)
        self.now += size
        self.peak = max(self.peak, self.now)


def _tensors(values: Any) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    tree_map_only(torch.Tensor, found.append, values)
    return found


class _Head(torch.autograd.Function):  # type: ignore[misc]
    """Takes the memory of TRL's fused head (``trl/kernels/chunked_logprob.py``), which scores in tiles."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, copies: float) -> torch.Tensor:
        ctx.save_for_backward(hidden, weight)
        ctx.copies, ctx.dtype = copies, _compute_dtype(hidden)
        _tile(hidden, weight, ctx.dtype, copies)
        return hidden.new_zeros(hidden.size(0), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        hidden, weight = ctx.saved_tensors
        of_hidden = torch.zeros(hidden.shape, dtype=torch.float32)
        of_weight = torch.zeros(weight.shape, dtype=torch.float32)
        _tile(hidden, weight, ctx.dtype, ctx.copies)
        return of_hidden.to(hidden.dtype), of_weight.to(weight.dtype), None


def _compute_dtype(hidden: torch.Tensor) -> torch.dtype:
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else hidden.dtype


def _tile(hidden: torch.Tensor, weight: torch.Tensor, dtype: torch.dtype, copies: float) -> None:
    """Allocate and free what one tile of scores takes."""
    tokens, entries = min(hidden.size(0), TILE[0]), min(weight.size(0), TILE[1])
    buffers = torch.empty(tokens, entries, dtype=dtype), torch.empty(int(copies * tokens * entries))
    del buffers
