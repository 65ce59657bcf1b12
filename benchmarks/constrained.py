"""What decoding under a constraint costs on TransformersEngine, and whether every text follows its constraint.

    python benchmarks/constrained.py FOLDER --json
    python benchmarks/constrained.py FOLDER --valid 100

The first command measures tokens/s of 16 requests at once, sampled at temperature 1: free ones before the engine has
seen any constraint; then free ones, ones under a JSON schema, and batches of both in turn. Each counts with the median
of its rounds. The second one samples texts under a schema, a regular expression, a choice and a forced tool call, and
counts those that follow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.command_line import add_output_options, run_benchmark
from relay_core import Constraint, Prompt, Relay, RelaySettings, Sampling, TransformersEngine
from relay_core.tool_parser import parse_answer
from relay_core.tools import offer
from testing.streams import collect

#: an answer under it never ends by itself
ENDLESS = {
    "type": "array",
    "minItems": 500,
    "items": {
        "type": "object",
        "properties": {"item": {"type": "string", "maxLength": 20}, "euros": {"type": "integer"}},
        "required": ["item", "euros"],
    },
}  # fmt: skip
ORDER = {
    "type": "object",
    "properties": {
        "item": {"enum": ["tea", "coffee", "milk"]},
        "pieces": {"type": "integer", "minimum": 1, "maximum": 99},
        "note": {"type": "string", "maxLength": 40},
        "address": {
            "type": "object",
            "properties": {"zip": {"type": "string", "pattern": "^[0-9]{5}$"}, "floor": {"type": ["null", "boolean"]}},
            "required": ["zip"],
        },
    },
    "required": ["item", "pieces", "address"],
}  # fmt: skip
NUMBER = r"\+\d{2} \d{3,4}-\d{4,6}"
CHOICE = ("yes", "no", "I do not know")
QUESTION = "I want 4 pieces of tea. Send them to 10115 Berlin, please."


async def tokens_per_s(engine: TransformersEngine, samplings: Sequence[Sampling]) -> float:
    """Tokens per second of all requests together, from the first submission to the last token."""
    assert engine.tokenizer is not None
    ids = engine.tokenizer.encode(QUESTION, begins=True)
    began = time.perf_counter()
    results = await asyncio.gather(
        *[collect(engine, Prompt("", [*ids, ids[i % len(ids)]]), sampling) for i, sampling in enumerate(samplings)]
    )
    return sum(len(tokens) for tokens, _ in results) / (time.perf_counter() - began)


async def measured(folder: str, at_once: int, tokens: int, rounds: int) -> dict[str, Any]:
    """Tokens per second without constraint, with one on each request, and with one on every other request."""
    engine = TransformersEngine(folder)
    free, held = Sampling(tokens, 1.0), Sampling(tokens, 1.0, json_schema=ENDLESS)
    batches = {"free": [free] * at_once, "held": [held] * at_once, "mixed": [free, held] * (at_once // 2)}
    speeds: dict[str, list[float]] = {"free, no constraint yet": [], **{name: [] for name in batches}}
    try:
        await tokens_per_s(engine, batches["free"])
        for _ in range(rounds):
            speeds["free, no constraint yet"].append(await tokens_per_s(engine, batches["free"]))
        await tokens_per_s(engine, batches["held"])
        for _ in range(rounds):
            for name, samplings in batches.items():
                speeds[name].append(await tokens_per_s(engine, samplings))
    finally:
        await engine.aclose()
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    return {"tokens_per_s": medians, "held_to_free": medians["held"] / medians["free"]}


def follows_schema(text: str) -> bool:
    """Whether ``text`` is an order."""
    import jsonschema

    try:
        jsonschema.validate(json.loads(text), ORDER)
    except (ValueError, jsonschema.ValidationError):
        return False
    return True


async def count_valid(relay: Relay, n: int, **settings: Any) -> dict[str, int]:
    """How many of ``n`` sampled answers of a relay follow each constraint; ``settings`` are those of the answers."""
    offered = offer([{"name": "order", "parameters": ORDER}], "order")

    def calls_tool(text: str) -> bool:
        parsed = parse_answer(offered.prefix + text)
        is_one = len(parsed.tool_calls) == 1 and not parsed.invalid_tool_calls and not parsed.content
        return is_one and follows_schema(json.dumps(parsed.tool_calls[0].arguments))

    forced = {"constraint": offered.constraint, "tools": offered.tools, "prefix": offered.prefix}
    cases: dict[str, tuple[Mapping[str, Any], Callable[[str], Any]]] = {
        "json_schema": ({"constraint": Constraint.json_schema(ORDER)}, follows_schema),
        "regex": ({"constraint": Constraint.regex(NUMBER)}, lambda text: re.fullmatch(NUMBER, text, re.ASCII)),
        "choice": ({"constraint": Constraint.choice(*CHOICE)}, lambda text: text in CHOICE),
        "tool_call": (forced, calls_tool),
    }
    chosen, counts = RelaySettings(max_tokens=400, temperature=1.0, **settings), {}
    for name, (options, follows) in cases.items():
        answers = await relay.abatch([QUESTION] * n, settings=chosen, max_concurrency=16, **options)
        counts[name] = sum(bool(follows(answer.text)) for answer in answers)
    return counts


async def valid(folder: str, n: int) -> dict[str, Any]:
    """How many of ``n`` texts of one model follow each constraint."""
    engine = TransformersEngine(folder)
    try:
        return {"of": n, "valid": await count_valid(Relay(engine, None), n)}
    finally:
        await engine.aclose()


def show(result: dict[str, Any]) -> None:
    """Print the result as lines."""
    if "valid" in result:
        for name, count in result["valid"].items():
            print(f"{name:12} {count} of {result['of']}")
        return
    for name, speed in result["tokens_per_s"].items():
        print(f"{name:24} {speed:8.1f} tokens/s")
    print(f"held / free              {result['held_to_free']:8.3f}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="a model's folder or hub id")
    parser.add_argument("--valid", type=int, metavar="N", help="count the texts that follow, of N for each constraint")
    parser.add_argument("--at-once", type=int, default=16, help="requests at once")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of a request")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each batch")
    add_output_options(parser)
    options = parser.parse_args(arguments)

    def run() -> dict[str, Any]:
        if options.valid:
            return asyncio.run(valid(options.folder, options.valid))
        return asyncio.run(measured(options.folder, options.at_once, options.tokens, options.rounds))

    return run_benchmark(options, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
