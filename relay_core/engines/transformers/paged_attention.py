"""Attention over the paged cache, request by request, for models without a flash implementation.

transformers' ``sdpa`` computes the scores of every query in a batch against every key in it and masks those of other
requests. With 64 requests that is 64 times the work, and most of a step's time. :func:`paged_attention` computes each
request's queries against that request's keys only: decoding requests are padded to a common length and computed
together, prompts (there are few in a step) one by one. The result is the same up to rounding. It supports models
whose layers all attend to the whole sequence.

transformers offers attention functions no public access to the cache's tensors, nor a getter for a model's attention;
this module reads the private attributes. How a layer hands the cache on depends on the version: until 5.23 as a keyword
argument of the attention function; from 5.24 on the layer calls ``cache.update`` itself (see :func:`serve`). An
attention function that gets no cache raises.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

NAME = "relay_paged"


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where the queries and keys of a step's requests are; the same for all layers.

    ``decoding``: rows of the queries of the B requests that decode one token, shape [B]; ``None`` if all rows are.
    ``pages``: positions of these requests' keys in the cache, padded to a common length, shape [B * length].
    ``mask``: false on padding, shape [B, 1, 1, length].
    ``reading``: of every other request, (first query, end of queries, first key, end of keys).
    """

    decoding: torch.Tensor | None
    pages: torch.Tensor
    mask: torch.Tensor
    reading: tuple[tuple[int, int, int, int], ...]


def _plan(ends_q: list[int], ends_k: list[int], read_index: torch.Tensor) -> _Plan:
    rows: list[int] = []
    starts: list[int] = []
    lengths: list[int] = []
    reading: list[tuple[int, int, int, int]] = []
    for q, q_end, k, k_end in zip(ends_q, ends_q[1:], ends_k, ends_k[1:], strict=False):
        if q_end - q == 1 and k_end - k > 1:
            rows.append(q)
            starts.append(k)
            lengths.append(k_end - k)
        elif q_end > q:
            reading.append((q, q_end, k, k_end))
    device = read_index.device
    length = max(lengths, default=0)
    column = torch.arange(length, device=device)
    positions = torch.tensor(starts, device=device).unsqueeze(1) + column
    mask = column < torch.tensor(lengths, device=device).unsqueeze(1)
    pages = read_index[positions.clamp_(max=max(0, len(read_index) - 1))].flatten() if rows else read_index[:0]
    decoding = None if not reading else torch.tensor(rows, device=device)
    return _Plan(decoding, pages, mask[:, None, None, :], tuple(reading))


def paged_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    cache: Any = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function with the signature of :class:`transformers.AttentionInterface`.

    Args:
        query: shape [1, heads, tokens, head_dim].
        key, value: shape [1, key heads, tokens, head_dim].
        cache: the manager's cache.

    Returns:
        The output, shape [1, tokens, heads, head_dim], and no attention weights.

    Raises:
        RuntimeError: the model does not hand the cache to its attention function. Attention without a mask would
            give plausible but wrong text.
    """
    if cache is None:
        raise RuntimeError(
            f"{type(module).__name__} called the attention {NAME!r} without the paged cache: transformers "
            f"{transformers.__version__} passes it in a way that relay-decoding does not know"
        )
    layer: int = module.layer_idx
    allocator = cache.layer_to_allocator[layer]
    read_index, write_index = kwargs["read_index"][allocator.index], kwargs["write_index"][allocator.index]
    keys, values = allocator._kv_token_views[layer]
    new_k, new_v = key[0].transpose(0, 1), value[0].transpose(0, 1)  # [tokens, key heads, head_dim]
    keys.index_copy_(0, write_index, new_k)
    values.index_copy_(0, write_index, new_v)
    if layer == allocator.layer_indices[0]:
        ends_k = kwargs["cu_seq_lens_k"][allocator.layer_type].tolist()
        if read_index.numel() == 0:  # the manager leaves it empty if every key is new
            read_index = write_index
        cache.relay_plan = (_plan(kwargs["cu_seq_lens_q"].tolist(), ends_k, read_index), read_index)
    plan, read_index = cache.relay_plan
    out = torch.empty_like(query[0].transpose(0, 1))  # [tokens, heads, head_dim]
    if len(plan.mask):
        decoded = _decode(query[0].transpose(0, 1), keys, values, plan, scaling)
        if plan.decoding is None:
            out = decoded
        else:
            out[plan.decoding] = decoded
    for q, q_end, k, k_end in plan.reading:
        positions = read_index[k:k_end]
        out[q:q_end] = _read(query[0, :, q:q_end], keys[positions], values[positions], scaling)
    return out.unsqueeze(0), None


def _decode(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, plan: _Plan, scaling: float | None
) -> torch.Tensor:
    """One new token of each of B requests; query heads that share a key head become rows of one query.

    Args:
        query: shape [tokens, heads, head_dim].
        keys, values: the layer's whole cache, shape [cache tokens, key heads, head_dim].

    Returns:
        Shape [B, heads, head_dim].
    """
    if plan.decoding is not None:
        query = query[plan.decoding]
    batch, heads, dim = query.shape
    groups = keys.shape[1]
    shape = (batch, -1, groups, dim)
    k = keys.index_select(0, plan.pages).view(shape).transpose(1, 2)
    v = values.index_select(0, plan.pages).view(shape).transpose(1, 2)
    q = query.reshape(batch, groups, heads // groups, dim)
    out = scaled_dot_product_attention(q, k, v, attn_mask=plan.mask, scale=scaling)
    return out.reshape(batch, heads, dim)


def _read(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float | None) -> torch.Tensor:
    """Several new tokens of one request, at the end of its keys.

    Args:
        query: shape [heads, tokens, head_dim].
        keys, values: the request's own, shape [all tokens so far, key heads, head_dim].

    Returns:
        Shape [tokens, heads, head_dim].
    """
    new, total = query.shape[1], keys.shape[0]
    mask = torch.ones(new, total, dtype=torch.bool, device=query.device).tril(total - new)
    out = scaled_dot_product_attention(
        query.unsqueeze(0),
        keys.transpose(0, 1).unsqueeze(0),
        values.transpose(0, 1).unsqueeze(0),
        attn_mask=mask,
        scale=scaling,
        enable_gqa=query.shape[0] != keys.shape[1],
    )
    return out[0].transpose(0, 1)


AttentionInterface.register(NAME, paged_attention)


def serve(cache: Any, model: PreTrainedModel) -> None:
    """Have ``cache``, transformers' paged cache, reach :func:`paged_attention` where the model uses it.

    From transformers 5.24 on, a layer calls ``cache.update(key, value, layer, kwargs=kwargs)``, which writes the new
    keys and gathers those of all requests, and passes only ``kwargs`` on. :func:`paged_attention` does both itself, so
    its ``update`` adds the cache to ``kwargs`` and returns the new keys and values untouched.
    """
    if model.config._attn_implementation != NAME:
        return

    def update(
        key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, kwargs: dict[str, Any]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        kwargs["cache"] = cache
        return key_states, value_states

    cache.update = update


def install(model: PreTrainedModel) -> None:
    """Have ``model`` use :func:`paged_attention` in place of ``sdpa`` if the result is the same up to rounding."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    if (
        model.config._attn_implementation == "sdpa"
        and kinds <= {"full_attention"}
        and (bool(kinds) or getattr(config, "sliding_window", None) is None)
        and not getattr(config, "attn_logit_softcapping", None)
    ):
        model.set_attn_implementation(NAME)


def uninstall(model: PreTrainedModel) -> None:
    """Undo :func:`install`."""
    if model.config._attn_implementation == NAME:
        model.set_attn_implementation("sdpa")
