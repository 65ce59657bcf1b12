"""Attention over the paged cache, request by request, for models without a flash implementation.

transformers' ``sdpa`` computes the scores of every query in a batch with every key in the batch, and masks the scores
with keys of other requests. With 64 requests, this is 64 times the necessary work, and takes most of a step's time.
:func:`paged_attention` computes each request's queries only with that request's keys. Decoding requests of about the
same length are padded to a common length and computed together; prompts, of which a step has few, are computed one by
one. The result is the same up to rounding.

On a CPU, all layers gather many keys and values into the same two buffers. New ones for each layer would be larger than
what the C library keeps for reuse, and the system would map their pages anew (``benchmarks/attention.py``).

A layer with a sliding window attends only to the last keys. Its older keys stay in the cache (``attention_setup.py``
says why), but are not read. Layers with soft-capped scores (Gemma 2) or attention sinks (gpt-oss) are computed with the
formula, all others with torch's ``scaled_dot_product_attention``.

transformers gives attention functions no public access to the tensors of the cache, so this module reads private
attributes. How a layer passes on the cache depends on the version of transformers: up to 5.23, as a keyword argument of
the attention function; from 5.24 on, the layer itself calls ``cache.update`` (see :func:`attention_setup.serve`). If
the attention function receives no cache, it raises an error.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from relay_core.engines.transformers.attention_plan import Plan, causal_mask, make_plan

NAME = "relay_paged"
IN_PLACE_OF_EAGER = "relay_paged_eager"  # the same function; the name says which attention the model had before
LARGE = 8 << 20
"""Bytes of keys from which on a CPU gathers them into a buffer that is kept."""
#: arguments of other attention functions that would change the result and are not implemented here
UNSUPPORTED = ("position_bias", "indices", "block_indices")


def paged_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    cache: Any = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function with the signature of :class:`transformers.AttentionInterface`.

    Args:
        query: shape [1, heads, tokens, head_dim].
        key, value: shape [1, key heads, tokens, head_dim].
        cache: the manager's cache.
        sliding_window: the number of tokens to which a query attends, including its own; ``None`` means all.
        softcap: scores s become ``softcap * tanh(s / softcap)``.
        s_aux: the heads' sinks, shape [heads]: logits that take part in the softmax and have no value.

    Returns:
        The output, shape [1, tokens, heads, head_dim], and no attention weights.

    Raises:
        RuntimeError: the model does not pass the cache to its attention function, or the layer needs an attention that
            is not implemented here. In both cases, the text would be plausible but wrong.
    """
    if cache is None:
        raise RuntimeError(
            f"{type(module).__name__} called the attention {NAME!r} without the paged cache: transformers "
            f"{transformers.__version__} passes it in a way that relay-decoding does not know"
        )
    if unknown := [name for name in UNSUPPORTED if kwargs.get(name) is not None]:
        raise RuntimeError(f"{type(module).__name__} needs an attention with {unknown[0]}, which is not served here")
    layer: int = module.layer_idx
    allocator = cache.layer_to_allocator[layer]
    write_index = kwargs["write_index"][allocator.index]
    keys, values = allocator._kv_token_views[layer]
    keys.index_copy_(0, write_index, key[0].transpose(0, 1))  # [tokens, key heads, head_dim]
    values.index_copy_(0, write_index, value[0].transpose(0, 1))
    if layer == allocator.layer_indices[0]:
        cache.relay_step = _Step(allocator, kwargs, cache.__dict__.setdefault("relay_buffers", {}))
    step: _Step = cache.relay_step
    out = step.attend(query[0], keys, values, sliding_window, _Formula(scaling, softcap, s_aux))
    return out.unsqueeze(0), None


class _Step:
    """The data that the layers share in one step: the ranges of its requests, and a plan for each window.

    ``buffers`` outlive the step.
    """

    __slots__ = ("_buffers", "_ends_k", "_ends_q", "_plans", "read_index")

    def __init__(self, allocator: Any, kwargs: dict[str, Any], buffers: dict[str, torch.Tensor]) -> None:
        self._buffers = buffers
        self._ends_q: list[int] = kwargs["cu_seq_lens_q"].tolist()
        self._ends_k: list[int] = kwargs["cu_seq_lens_k"][allocator.layer_type].tolist()
        self.read_index: torch.Tensor = kwargs["read_index"][allocator.index]
        if self.read_index.numel() == 0:  # the manager leaves it empty if every key is new
            self.read_index = kwargs["write_index"][allocator.index]
        self._plans: dict[int | None, Plan] = {}

    def attend(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, window: int | None, formula: _Formula
    ) -> torch.Tensor:
        """A layer's output.

        Args:
            query: shape [heads, tokens, head_dim].
            keys, values: the layer's whole cache, shape [cache tokens, key heads, head_dim].
            window: the number of tokens to which a query attends; ``None`` means all.
            formula: how scores become weights.

        Returns:
            Shape [tokens, heads, head_dim].
        """
        plan = self._plan(window)
        rows = query.transpose(0, 1)
        out = torch.empty_like(rows)
        for part in plan.decoding:
            k, v = self._gathered(keys, values, part.pages)
            if part.rows is None:
                return _decode(rows, k, v, part.mask, formula)
            out[part.rows] = _decode(rows[part.rows], k, v, part.mask, formula)
        for first, end, first_key, end_of_keys in plan.reading:
            positions = self.read_index[first_key:end_of_keys]
            mask = causal_mask(end - first, end_of_keys - first_key, window, query.device)
            out[first:end] = _read(query[:, first:end], keys[positions], values[positions], mask, formula)
        return out

    def _plan(self, window: int | None) -> Plan:
        """The plan of the layers with this window."""
        if window not in self._plans:
            self._plans[window] = make_plan(self._ends_q, self._ends_k, self.read_index, window)
        return self._plans[window]

    def _gathered(
        self, keys: torch.Tensor, values: torch.Tensor, pages: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and values at ``pages``, until the next call."""
        if keys.device.type != "cpu" or len(pages) * keys[0].nbytes < LARGE:
            return keys.index_select(0, pages), values.index_select(0, pages)
        k, v = self._buffer("keys", keys, len(pages)), self._buffer("values", values, len(pages))
        return torch.index_select(keys, 0, pages, out=k), torch.index_select(values, 0, pages, out=v)

    def _buffer(self, name: str, like: torch.Tensor, rows: int) -> torch.Tensor:
        """A buffer for ``rows`` rows of ``like``, which may hold anything."""
        size = rows * like[0].numel()
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < size or buffer.dtype is not like.dtype:
            with torch.inference_mode(False):  # the next step may run without it
                buffer = self._buffers[name] = torch.empty(size + size // 4, dtype=like.dtype)
        return buffer[:size].view(rows, *like.shape[1:])


class _Formula:
    """The way in which a layer turns scores into weights; the arguments are those of :func:`paged_attention`."""

    __slots__ = ("scaling", "sinks", "softcap")

    def __init__(self, scaling: float | None, softcap: float | None, sinks: torch.Tensor | None) -> None:
        self.scaling, self.softcap, self.sinks = scaling, softcap, sinks

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The queries of the heads that share a key head are rows.

        Args:
            q: shape [B, key heads, shared heads, tokens, head_dim].
            k, v: shape [B, key heads, keys, head_dim].
            mask: false where a query does not see a key; broadcasts to [B, 1, 1, tokens, keys].

        Returns:
            The shape of ``q``.
        """
        scores = q @ k.unsqueeze(2).transpose(-1, -2)
        scores = scores * (q.shape[-1] ** -0.5 if self.scaling is None else self.scaling)
        if self.softcap is not None:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        scores = scores.float().masked_fill(~mask, -torch.inf)
        if self.sinks is not None:
            sinks = self.sinks.float().view(1, q.shape[1], q.shape[2], 1, 1).expand(*scores.shape[:-1], 1)
            weights = torch.cat([scores, sinks], -1).softmax(-1)[..., :-1]
        else:
            weights = scores.softmax(-1)
        return weights.to(v.dtype) @ v.unsqueeze(2)

    @property
    def is_plain(self) -> bool:
        """Whether torch's own attention can compute it."""
        return self.softcap is None and self.sinks is None


def _decode(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, formula: _Formula
) -> torch.Tensor:
    """One new token of each of B requests; query heads that share a key head become rows of one query.

    Args:
        query: shape [B, heads, head_dim].
        keys, values: of all requests, padded to a common length, shape [B * length, key heads, head_dim].
        mask: false on padding, shape [B, 1, 1, length].

    Returns:
        The shape of ``query``.
    """
    batch, heads, dim = query.shape
    groups = keys.shape[1]
    k, v = (tensor.view(batch, -1, groups, dim).transpose(1, 2) for tensor in (keys, values))
    q = query.reshape(batch, groups, heads // groups, dim)
    if formula.is_plain:
        out = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=formula.scaling)
    else:
        out = formula.attend(q.unsqueeze(3), k, v, mask.unsqueeze(1))
    return out.reshape(batch, heads, dim)


def _read(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, formula: _Formula
) -> torch.Tensor:
    """Several new tokens of one request, at the end of its keys.

    Args:
        query: shape [heads, tokens, head_dim].
        keys, values: the request's own, shape [keys, key heads, head_dim].
        mask: shape [tokens, keys].

    Returns:
        Shape [tokens, heads, head_dim].
    """
    heads, groups = query.shape[0], keys.shape[1]
    k, v = keys.transpose(0, 1).unsqueeze(0), values.transpose(0, 1).unsqueeze(0)
    if formula.is_plain:
        out = scaled_dot_product_attention(
            query.unsqueeze(0), k, v, attn_mask=mask, scale=formula.scaling, enable_gqa=heads != groups
        )
    else:
        out = formula.attend(query.unflatten(0, (groups, heads // groups)).unsqueeze(0), k, v, mask).flatten(1, 2)
    return out[0].transpose(0, 1)


AttentionInterface.register(NAME, paged_attention)
AttentionInterface.register(IN_PLACE_OF_EAGER, paged_attention)
