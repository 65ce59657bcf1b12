"""How many tokens an automatically sized cache holds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

REQUESTS, TOKENS_PER_REQUEST = 128, 512  # room for so many requests of so many tokens each, or for one whole context


def automatic_cache_tokens(model: PreTrainedModel, cache_gib: float | None) -> int:
    """Tokens to make room for.

    Args:
        model: the model whose keys and values are cached.
        cache_gib: the most memory to use; ``None`` is a share of the free memory.
    """
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    bytes_per_token = 2 * config.num_hidden_layers * heads * head_dim * model.dtype.itemsize
    context = getattr(config, "max_position_embeddings", None) or TOKENS_PER_REQUEST
    wanted: int = max(context, REQUESTS * TOKENS_PER_REQUEST)
    limit = _default_bytes(model.device) if cache_gib is None else cache_gib * 2**30
    return int(min(wanted, limit // bytes_per_token))


def _default_bytes(device: torch.device) -> float:
    """The cache's share of a GPU's free memory, or of the machine's physical memory, part of which is in use."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return 0.7 * free
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return 0.15 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 2.0 * 2**30
