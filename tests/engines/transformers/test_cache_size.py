"""The automatic size of a cache, and what is said of one that does not fit."""

from __future__ import annotations

import re
from typing import Any

import pytest

from relay_core import EngineError
from relay_core.engines.transformers.cache_size import cache_tokens, check_weights
from relay_core.engines.transformers.footprint import GIB, Footprint
from relay_core.engines.transformers.options import BatchingOptions

SMALL = Footprint(weights=269 * 10**6, is_mapped=True, token=23_040, context=8192)  # SmolLM2-135M
LARGE = Footprint(weights=3087 * 10**6, is_mapped=True, token=28_672, context=32_768)  # Qwen2.5-Coder-1.5B
LONG = Footprint(weights=2 * GIB, is_mapped=True, token=32_768, context=131_072)  # a whole context is 4 GiB


def options(**changes: Any) -> BatchingOptions:
    defaults = {
        "page_size": 16, "cache_tokens": None, "cache_gib": None, "max_batch_tokens": 512, "max_requests": 256,
        "cuda_graphs": False, "async_batching": False,
    }  # fmt: skip
    return BatchingOptions(**{**defaults, **changes})


@pytest.mark.parametrize(
    ("sizes", "device", "free_gib", "gib"),
    [
        (SMALL, "cpu", 16, 2 * SMALL.weights / GIB),  # not 65,536 tokens, whatever the model's size
        (LARGE, "cpu", 16, 65_536 * LARGE.token / GIB),
        (LARGE, "cpu", 2, 1.0),  # half of what is free
        (LONG, "cpu", 16, 4.0),  # a whole context
        (LONG, "cpu", 4, 2.0),  # a useful part of it
        (Footprint(500_000, True, 1024, 512), "cpu", 16, 1 / 16),  # 65,536 tokens of a tiny model
        (SMALL, "cuda", 16, 65_536 * SMALL.token / GIB),
        (LONG, "cuda", 4, 2.8),
    ],
)
def test_the_default_suits_the_model_and_the_memory(sizes: Footprint, device: str, free_gib: int, gib: float) -> None:
    tokens = cache_tokens(sizes, options(), device, free=free_gib * GIB)
    assert tokens * sizes.token / GIB == pytest.approx(gib, rel=1e-3)


def test_memory_that_other_engines_will_need_is_left_to_them() -> None:
    alone = cache_tokens(LONG, options(), "cpu", free=8 * GIB)
    beside = cache_tokens(LONG, options(), "cpu", free=8 * GIB, expected=4 * GIB)
    assert alone * LONG.token == 4 * GIB and beside * LONG.token == 2 * GIB
    least = cache_tokens(LONG, options(), "cpu", free=8 * GIB, expected=100 * GIB)
    assert least == 512, "another engine may never start, so it is no reason to refuse"


@pytest.mark.parametrize("changes", [{"cache_gib": 40}, {"cache_tokens": 1_000_000}])
def test_a_cache_that_does_not_fit_names_a_size_that_does(changes: dict[str, Any]) -> None:
    sizes = LONG if "cache_gib" in changes else SMALL
    with pytest.raises(EngineError, match=r"are free on cpu: write cache_gib=[\d.]+, which holds") as error:
        cache_tokens(sizes, options(**changes), "cpu", free=GIB)
    value = float(re.search(r"cache_gib=([\d.]+)", str(error.value))[1])  # type: ignore[index]
    assert cache_tokens(sizes, options(cache_gib=value), "cpu", free=GIB) >= 512


def test_without_room_for_any_cache_no_value_is_named() -> None:
    with pytest.raises(EngineError, match="no useful cache_gib would fit"):
        cache_tokens(LARGE, options(), "cpu", free=2**20)


def test_weights_that_do_not_fit() -> None:
    check_weights(LARGE, 3 * GIB, "cpu")
    with pytest.raises(
        EngineError, match=r"the weights take 2\.87 GiB, and 2\.00 GiB are free on cpu, so no cache_gib"
    ):
        check_weights(LARGE, 2 * GIB, "cpu")
