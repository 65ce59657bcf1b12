"""The attention of decoding requests over the paged cache, in groups of about the same length and with kept buffers.

    OMP_NUM_THREADS=1 python benchmarks/attention.py

A step of many requests of different lengths is computed on random keys: as it is, and with all requests padded to the
longest one and new buffers for each layer (``padded``). Both take turns; each figure is the least of ``--rounds``.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

from benchmarks.command_line import Result, add_output_options, run_benchmark

PAGE = 32
LAYERS = 4
NEVER = sys.maxsize


class Shape(NamedTuple):
    """The heads of a layer, and the requests: their number, and the range of their lengths."""

    heads: int
    key_heads: int
    head_dim: int
    requests: int
    shortest: int
    longest: int


SHAPES = {
    "SmolLM2-135M, 100 to 330 tokens": Shape(9, 3, 64, 64, 100, 330),
    "SmolLM2-135M, 100 to 620 tokens": Shape(9, 3, 64, 64, 100, 620),
    "Qwen2.5-1.5B, 100 to 330 tokens": Shape(12, 2, 128, 64, 100, 330),
    "Qwen2.5-1.5B, 100 to 620 tokens": Shape(12, 2, 128, 64, 100, 620),
    "bundled, 60 to 150 tokens": Shape(4, 2, 16, 64, 60, 150),
}


class Step:
    """A step of transformers' manager in which each request decodes one token, with what the attention reads of it."""

    def __init__(self, shape: Shape, layers: int = LAYERS) -> None:
        import torch

        rng = random.Random(0)
        lengths = [rng.randint(shape.shortest, shape.longest) for _ in range(shape.requests)]
        pages = torch.randperm(sum(-(-length // PAGE) for length in lengths)).split([-(-n // PAGE) for n in lengths])
        slots = [
            (own[:, None] * PAGE + torch.arange(PAGE)).flatten()[:n] for own, n in zip(pages, lengths, strict=True)
        ]
        tokens = PAGE * sum(map(len, pages))
        views = [tuple(torch.randn(tokens, shape.key_heads, shape.head_dim) for _ in range(2)) for _ in range(layers)]
        allocator = SimpleNamespace(index=0, _kv_token_views=views, layer_indices=range(layers), layer_type="full")
        self._cache = SimpleNamespace(layer_to_allocator=[allocator] * layers)
        self._modules = [SimpleNamespace(layer_idx=layer) for layer in range(layers)]
        heads = (shape.heads, shape.key_heads, shape.key_heads)
        self._new = [torch.randn(1, count, shape.requests, shape.head_dim) for count in heads]
        ends = torch.tensor([0, *lengths]).cumsum(0)
        self._kwargs = {
            "write_index": [torch.stack([own[-1] for own in slots])], "read_index": [torch.cat(slots)],
            "cu_seq_lens_q": torch.arange(shape.requests + 1), "cu_seq_lens_k": {"full": ends},
        }  # fmt: skip

    def run(self) -> Any:
        """The last layer's output."""
        from relay_core.engines.transformers.paged_attention import paged_attention

        out = None
        for module in self._modules:
            out, _ = paged_attention(module, *self._new, None, cache=self._cache, **self._kwargs)  # type: ignore[arg-type]
        return out


def measure(shapes: dict[str, Shape], rounds: int) -> Result:
    """Milliseconds a layer, as it is and padded, and their ratio."""
    import torch

    from relay_core.engines.transformers import attention_plan, paged_attention

    result: dict[str, dict[str, float]] = {}
    with torch.inference_mode():
        for name, shape in shapes.items():
            step, seconds = Step(shape), {"now": float("inf"), "padded": float("inf")}
            for _ in range(rounds + 1):  # the first one warms up
                outputs = []
                for way in seconds:
                    never = NEVER if way == "padded" else 0
                    with (
                        patch.object(attention_plan, "LEAST_SAVED", never or attention_plan.LEAST_SAVED),
                        patch.object(paged_attention, "LARGE", never or paged_attention.LARGE),
                    ):
                        began = time.perf_counter()
                        outputs.append(step.run())
                        seconds[way] = min(seconds[way], time.perf_counter() - began)
                torch.testing.assert_close(*outputs)
            milliseconds = {way: 1e3 * took / LAYERS for way, took in seconds.items()}
            result[name] = {**milliseconds, "ratio": milliseconds["padded"] / milliseconds["now"]}
    return {"threads": torch.get_num_threads(), "rounds": rounds, "milliseconds": result}


def show(result: Result) -> None:
    """Print the table."""
    print("| 64 requests | ms a layer | padded, new buffers | ratio |\n| --- | ---: | ---: | ---: |")
    for name, row in result["milliseconds"].items():
        print(f"| {name} | {row['now']:.2f} | {row['padded']:.2f} | {row['ratio']:.2f} |")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    add_output_options(parser)
    options = parser.parse_args(arguments)
    return run_benchmark(options, lambda: measure(SHAPES, options.rounds), show)


if __name__ == "__main__":
    sys.exit(main())
