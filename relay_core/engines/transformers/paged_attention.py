"""Attention over the paged cache, request by request.

transformers' own ``sdpa`` lets every query of a batch look at every key of it and masks all but its own: with 64
requests that is 64 times the work, and most of a step's time. Here each request meets its own keys only: those that
decode are padded to a common length and computed at once; prompts, few in any step, one by one. The result is the
same up to rounding. For models whose layers all attend to the whole sequence; flash implementations need none of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAME = "relay_paged"


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where a step's requests lie; the same for all layers.

    ``decoding``: rows of the queries that are one token of a request, shape [B], or ``None`` for all of them;
    ``pages``: where their keys are in the cache, padded, shape [B * length]; ``mask``: true on what is no padding,
    shape [B, 1, 1, length]. ``reading``: (first query, last, first key, last) of every other request.
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
    at = torch.tensor(starts, device=device).unsqueeze(1) + column
    mask = column < torch.tensor(lengths, device=device).unsqueeze(1)
    pages = read_index[at.clamp_(max=max(0, len(read_index) - 1))].flatten() if rows else read_index[:0]
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
    """An attention function as :class:`transformers.AttentionInterface` wants it.

    Args:
        query: shape [1, heads, tokens, head_dim]; ``key`` and ``value`` the same with the model's key heads.
        cache: the manager's cache; without it this is transformers' ``sdpa``.

    Returns:
        Shape [1, tokens, heads, head_dim], and no weights.
    """
    if cache is None:
        out, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return out, None
    layer: int = module.layer_idx
    allocator = cache.layer_to_allocator[layer]
    read_index, write_index = kwargs["read_index"][allocator.index], kwargs["write_index"][allocator.index]
    keys, values = allocator._kv_token_views[layer]
    new_k, new_v = key[0].transpose(0, 1), value[0].transpose(0, 1)  # [tokens, key heads, head_dim]
    keys.index_copy_(0, write_index, new_k)
    values.index_copy_(0, write_index, new_v)
    step = kwargs["cu_seq_lens_q"]
    if layer == allocator.layer_indices[0]:
        ends_k = kwargs["cu_seq_lens_k"][allocator.layer_type].tolist()
        if read_index.numel() == 0:  # the manager names no keys where all of them are new
            read_index = write_index
        cache.relay_plan = (_plan(step.tolist(), ends_k, read_index), read_index)
    plan, read_index = cache.relay_plan
    out = torch.empty_like(query[0].transpose(0, 1))  # [tokens, heads, head_dim]
    if len(plan.mask):
        decoded = _decode(query[0].transpose(0, 1), keys, values, plan, scaling)
        if plan.decoding is None:
            out = decoded
        else:
            out[plan.decoding] = decoded
    for q, q_end, k, k_end in plan.reading:
        at = read_index[k:k_end]
        out[q:q_end] = _read(query[0, :, q:q_end], keys[at], values[at], scaling)
    return out.unsqueeze(0), None


def _decode(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, plan: _Plan, scaling: float | None
) -> torch.Tensor:
    """One new token of each of B requests; queries that share a key head count as rows of one query."""
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
    """Several tokens of one request behind what the cache has of it; query [heads, tokens, head_dim]."""
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


def suits(model: PreTrainedModel) -> bool:
    """Whether ``model`` can use :func:`paged_attention` in place of ``sdpa``, with the same result."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    return (
        model.config._attn_implementation == "sdpa"
        and kinds <= {"full_attention"}
        and (bool(kinds) or getattr(config, "sliding_window", None) is None)
        and not getattr(config, "attn_logit_softcapping", None)
    )
