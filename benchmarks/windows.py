"""What a hand-over costs behind a long context: a model with sliding windows beside a full-attention model.

    python benchmarks/windows.py                                # random weights with the sizes of Gemma 3 270M
    python benchmarks/windows.py --model /path/to/gemma-3-270m  # a real model, beside a random Qwen3 of its sizes

A hand-over is timed from the request to its first token: the engine has answered a prompt of ``--context`` tokens, and
gets the prompt again with its own answer and eight tokens of another author. ``first`` is the time of the prompt's own
first token, which reads the whole context. Each figure is the least of ``--rounds``, in which the models take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.command_line import add_output_options, run_benchmark
from benchmarks.random_pair import qwen3_tokenizer
from relay_core import TransformersEngine
from relay_core.engines.base import EngineUsage, Prompt, Sampling

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

ANSWER, FOREIGN = 8, 8  # tokens
GEMMA_3_270M = {
    "vocab_size": 262144, "hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18,
    "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256, "query_pre_attn_scalar": 256,
    "sliding_window": 512, "max_position_embeddings": 32768,
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 3,
}  # fmt: skip


def windowed_model(source: str | None) -> PreTrainedModel:
    """The model at ``source``, or a random Gemma 3; in bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig

    if source is not None:
        return AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16).eval()
    return Gemma3ForCausalLM(Gemma3TextConfig(**GEMMA_3_270M)).to(torch.bfloat16).eval()


def full_twin(config: PretrainedConfig) -> PreTrainedModel:
    """A random Qwen3 of a config's sizes, all of whose layers attend to the whole sequence; in bfloat16."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    names = (
        "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim "
        "max_position_embeddings"
    ).split()
    sizes = {name: getattr(config, name) for name in names}
    return Qwen3ForCausalLM(Qwen3Config(**sizes, tie_word_embeddings=True)).to(torch.bfloat16).eval()


async def first_token(engine: TransformersEngine, ids: Sequence[int], max_tokens: int) -> tuple[float, list[int], int]:
    """Seconds to the first token, the ids of the whole answer, and how many tokens of the prompt were cached."""
    began, seconds, answer, usage = time.perf_counter(), 0.0, list[int](), EngineUsage(0, None, 0)
    async for chunk in engine.stream(Prompt("", ids), Sampling(max_tokens)):
        seconds = seconds or time.perf_counter() - began
        answer += [token.id for token in chunk.tokens if token.id is not None]
        usage = chunk.usage or usage
    return seconds, answer, usage.cached_tokens or 0


async def measure(models: dict[str, PreTrainedModel], contexts: Sequence[int], rounds: int, folder: Path) -> Any:
    """Least milliseconds by context and model."""
    tokenizer, draw = qwen3_tokenizer(folder), random.Random(0)
    size = 2 * max(contexts) + 512
    engines = {name: TransformersEngine(model, tokenizer, cache_tokens=size) for name, model in models.items()}
    result: dict[str, dict[str, dict[str, float]]] = {str(context): {} for context in contexts}
    for context in [c for c in contexts for _ in range(rounds)]:
        for name, engine in engines.items():
            prompt = [draw.randrange(1000, 100_000) for _ in range(context)]
            first, answer, _ = await first_token(engine, prompt, ANSWER)
            longer = prompt + answer + [draw.randrange(1000, 100_000) for _ in range(FOREIGN)]
            seconds, _, cached = await first_token(engine, longer, 1)
            old = result[str(context)].get(name, {"handover_ms": float("inf"), "first_ms": float("inf")})
            result[str(context)][name] = {
                "handover_ms": round(min(old["handover_ms"], seconds * 1000), 1),
                "first_ms": round(min(old["first_ms"], first * 1000), 1),
                "cached_tokens": cached,
            }
    for engine in engines.values():
        await engine.aclose()
    return {"model": type(models["windows"]).__name__, "milliseconds": result}


def show(result: dict[str, Any]) -> None:
    """Print the result as a table."""
    print(f"{'context':>8} {'model':>8} {'hand-over':>10} {'first token':>12} {'cached':>8}")
    for context, models in result["milliseconds"].items():
        for name, row in models.items():
            print(
                f"{context:>8} {name:>8} {row['handover_ms']:>7.0f} ms {row['first_ms']:>9.0f} ms "
                f"{row['cached_tokens']:>8.0f}"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder with a model whose layers have sliding windows")
    parser.add_argument("--context", type=int, nargs="+", default=[300, 1200, 4800], help="tokens of the prompt")
    parser.add_argument("--rounds", type=int, default=5)
    add_output_options(parser)
    options = parser.parse_args(arguments)
    windowed = windowed_model(options.model)
    models = {"windows": windowed, "full": full_twin(windowed.config.get_text_config())}
    with tempfile.TemporaryDirectory() as folder:
        return run_benchmark(
            options, lambda: asyncio.run(measure(models, options.context, options.rounds, Path(folder))), show
        )


if __name__ == "__main__":
    raise SystemExit(main())
