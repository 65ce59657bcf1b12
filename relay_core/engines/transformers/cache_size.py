"""How many tokens the cache of a model holds, and whether the model and its cache fit."""

from __future__ import annotations

import math

from relay_core.engines.transformers.footprint import GIB, Footprint
from relay_core.engines.transformers.options import BatchingOptions
from relay_core.errors import EngineError

REQUESTS, TOKENS_PER_REQUEST = 128, 512  # room for so many requests of so many tokens each, or for one whole context
LEAST_CPU_BYTES = GIB // 2  # an automatic cache on a CPU may be this large, however small the model
TIMES_WEIGHTS = 2  # an automatic cache on a CPU may be so many times as large as the weights
SHARES = {"cuda": 0.7, "cpu": 0.5}  # of the free memory, for an automatic cache


def check_weights(footprint: Footprint, free: int, device: str) -> None:
    """Raise EngineError if the weights do not fit into ``free`` bytes."""
    if footprint.weights > free:
        raise EngineError(
            f"the weights take {_gib(footprint.weights)}, and {_gib(free)} are free on {device}, so no cache_gib would "
            "fit: close other programs or engines, or choose a smaller model or another device"
        )


def cache_tokens(footprint: Footprint, options: BatchingOptions, device: str, *, free: int, expected: int = 0) -> int:
    """Tokens for which the cache has room.

    Without ``cache_tokens`` and ``cache_gib``, the cache has room for one whole context and for 128 short requests, as
    far as a share of the free memory allows: 70% on a GPU, 50% elsewhere. Elsewhere, it also takes no more than
    twice the weights, one whole context or 0.5 GiB, whichever is most.

    Args:
        footprint: of the model.
        options: of the engine.
        device: its type, such as ``"cuda"``.
        free: bytes that are free on the device, the weights being loaded.
        expected: bytes of them that other engines of this process will need for their weights.

    Raises:
        EngineError: the cache does not fit; the message names ``cache_gib`` and a value that would.
    """
    context = footprint.context or TOKENS_PER_REQUEST
    wanted = max(context, REQUESTS * TOKENS_PER_REQUEST)
    if options.cache_tokens is not None:
        tokens = options.cache_tokens
    elif options.cache_gib is not None:
        tokens = min(wanted, int(options.cache_gib * GIB / footprint.token))
    else:
        limit = SHARES.get(device, SHARES["cpu"]) * max(0, free - expected)
        if device != "cuda":
            limit = min(limit, max(LEAST_CPU_BYTES, TIMES_WEIGHTS * footprint.weights, context * footprint.token))
        tokens = max(min(wanted, int(limit / footprint.token)), min(context, TOKENS_PER_REQUEST))
    if tokens * footprint.token > free:
        raise EngineError(
            f"a cache for {tokens:,} tokens takes {_gib(tokens * footprint.token)}, and {_gib(free)} are free on "
            f"{device}: {suggestion(footprint, free)}"
        )
    return tokens


def suggestion(footprint: Footprint, free: int) -> str:
    """What to write instead of a size that does not fit into ``free`` bytes."""
    fitting = SHARES["cpu"] * free
    if fitting < TOKENS_PER_REQUEST * footprint.token:
        return "no useful cache_gib would fit; close other programs or engines, or choose a smaller model"
    value = math.floor(fitting / GIB * 100) / 100 or float(f"{fitting / GIB:.1g}") / 2
    return f"write cache_gib={value:g}, which holds {int(value * GIB / footprint.token):,} tokens"


def _gib(size: float) -> str:
    return f"{size / GIB:.2f} GiB" if size >= 0.01 * GIB else f"{size / 2**20:.1f} MiB"
