"""Whether a student that is told when to call does so, and only then.

    python benchmarks/instructions.py --model PATH                      # the calculations of relay_core.instructions
    python benchmarks/instructions.py --model PATH --instructions facts --json

70 word problems, ten of each of seven families, need a calculation; 100 questions need none. One model is both student
and teacher, since only the student's commands are counted.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.command_line import add_output_options, run_benchmark
from relay_core import Relay, RelaySettings
from relay_core.instructions import BY_NAME, named

MANNER = "Answer in full sentences: say what is given, calculate, and then give the result."
FAMILIES: tuple[Callable[[random.Random], str], ...] = (
    lambda r: f"Ana has {r.randint(12, 60)} cards and gets {r.randint(12, 60)} more. How many cards does she have now?",
    lambda r: f"Tom has {r.randint(60, 99)} coins and gives away {r.randint(12, 50)}. How many coins are left?",
    lambda r: (
        f"Mia buys {r.randint(3, 9)} boxes of pencils. Each box holds {r.randint(3, 9)} pencils. How many pencils?"
    ),
    lambda r: f"Leo buys {r.randint(3, 9)} boxes of nails. Each box holds {r.randint(12, 49)} nails. How many nails?",
    lambda r: f"What is {r.randint(12, 99)} times {r.randint(3, 9)}?",
    lambda r: f"What is {r.choice((10, 20, 25, 50, 75))}% of {20 * r.randint(2, 20)}?",
    lambda r: f"A rectangle is {r.randint(3, 30)} cm long and {r.randint(3, 30)} cm wide. What is its area?",
)
TOPICS = (
    "rain", "bread", "a violin", "the moon", "friendship", "glass", "a library", "chess", "tea", "a lighthouse",
    "wool", "patience", "a garden", "thunder", "a passport", "salt", "a bicycle", "jazz", "honey", "a museum",
)  # fmt: skip
FORMS = (
    "Describe {} in two sentences.", "Why do people like {}?", "Write a short poem about {}.",
    "Explain {} to a child in two sentences.", "Suggest a title for a story about {}.",
)  # fmt: skip


def questions(seed: int) -> tuple[list[str], list[str]]:
    """The 70 problems and the 100 questions without a calculation."""
    rng = random.Random(seed)
    problems = [f"{family(rng)} {MANNER}" for family in FAMILIES for _ in range(10)]
    return problems, [form.format(topic) for form in FORMS for topic in TOPICS]


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """How many answers of each set open a call."""
    settings = RelaySettings(
        student_instructions=named(options.instructions), trigger=options.trigger, max_tokens=options.max_tokens,
        max_calls=1, on_teacher_stop="continue",
    )  # fmt: skip
    result: dict[str, Any] = {"model": options.model, "instructions": options.instructions}
    async with Relay(options.model, None, settings) as loaded:
        relay = Relay(loaded.student, loaded.student, settings)
        for name, prompts in zip(("problems", "others"), questions(options.seed), strict=True):
            answers = await relay.abatch(prompts[: options.limit], max_concurrency=options.at_once)
            calling = [i for i, answer in enumerate(answers) if answer.usage.calls]
            result[name] = {"answers": len(answers), "with_a_call": len(calling), "which": calling}
    return result


def show(result: dict[str, Any]) -> None:
    """Print the result in two lines."""
    for name in ("problems", "others"):
        print(f"{name}: {result[name]['with_a_call']} of {result[name]['answers']} answers open a call")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description="Whether a told student calls where it was told to.")
    parser.add_argument("--model", default="bundled", help="engine spec of the model")
    parser.add_argument("--instructions", default="calculations", choices=BY_NAME)
    parser.add_argument("--trigger", default="commands:8")
    parser.add_argument("--max-tokens", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--limit", type=int, default=None, help="only the first so many of each set")
    parser.add_argument("--seed", type=int, default=0)
    add_output_options(parser)
    options = parser.parse_args(arguments)
    return run_benchmark(options, lambda: asyncio.run(measure(options)), show)


if __name__ == "__main__":
    raise SystemExit(main())
