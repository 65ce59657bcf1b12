"""Whether a student that is told when to call does so, and only then.

    python benchmarks/instructions.py --model PATH                      # the calculations of relay_core.instructions
    python benchmarks/instructions.py --model PATH --instructions facts --json

70 word problems need a calculation, and 20 questions each a fact, a passage or a function. 100 further questions need
no call under any of the instructions. One model is both student and teacher, since only the student's commands are
counted.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from typing import Any

from benchmarks.command_line import add_output_options, run_benchmark
from benchmarks.instruction_questions import questions
from relay_core import Relay, RelaySettings
from relay_core.instructions import BY_NAME, named


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """How many answers of each set open a call."""
    settings = RelaySettings(
        student_instructions=named(options.instructions), trigger=options.trigger, max_tokens=options.max_tokens,
        max_calls=1, on_teacher_stop="continue",
    )  # fmt: skip
    result: dict[str, Any] = {"model": options.model, "instructions": options.instructions}
    async with Relay(options.model, None, settings) as loaded:
        relay = Relay(loaded.student, loaded.student, settings)
        for name, prompts in zip(("due", "others"), questions(options.seed, options.instructions), strict=True):
            answers = await relay.abatch(prompts[: options.limit], max_concurrency=options.at_once)
            calling = [i for i, answer in enumerate(answers) if answer.usage.calls]
            result[name] = {"answers": len(answers), "with_a_call": len(calling), "which": calling}
    return result


def show(result: dict[str, Any]) -> None:
    """Print the result in two lines."""
    for name, label in (("due", "where a call is due"), ("others", "where none is due")):
        print(f"{label}: {result[name]['with_a_call']} of {result[name]['answers']} answers open a call")


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
