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
from benchmarks.word_problems import LargeNumbers
from relay_core import Relay, RelaySettings
from relay_core.instructions import BY_NAME, named

MANNER = "Answer in full sentences: say what is given, calculate, and then give the result."
TOPICS = (
    "rain", "bread", "a violin", "the moon", "friendship", "glass", "a library", "chess", "tea", "a lighthouse",
    "wool", "patience", "a garden", "thunder", "a passport", "salt", "a bicycle", "jazz", "honey", "a museum",
)  # fmt: skip
FORMS = (
    "Describe {} in two sentences.", "Why do people like {}?", "Write a short poem about {}.",
    "Explain {} to a child in two sentences.", "Suggest a title for a story about {}.",
)  # fmt: skip

FACTS = tuple(
    [f"Who painted {name}?" for name in ("Guernica", "The Night Watch", "The Scream", "Las Meninas", "The Kiss")]
    + [f"When did {name} end?" for name in ("the Thirty Years' War", "the Ming dynasty", "the Crimean War")]
    + [f"What is the capital of {name}?" for name in ("Mongolia", "Uruguay", "Ghana", "Latvia", "Laos")]
    + [f"How long is {name}?" for name in ("the Danube", "the Great Wall of China", "the Panama Canal")]
    + [f"In which year was {name} born?" for name in ("Ada Lovelace", "Simon Bolivar", "Marie Curie", "Frida Kahlo")]
)
PASSAGES = tuple(
    [
        f"Quote the first sentence of {name}."
        for name in ("Pride and Prejudice", "1984", "Anna Karenina", "A Tale of Two Cities", "The Hobbit", "Emma")
    ]
    + [
        f"What is the definition of {name}?"
        for name in ("entropy", "a catalyst", "a monopoly", "a verb", "a square", "osmosis", "inflation", "a virus")
    ]
    + [f"How does the poem '{name}' begin?" for name in ("The Raven", "Ozymandias", "If", "Daffodils", "Invictus")]
    + ["Quote the first amendment of the constitution of the United States."]
)
CODE = tuple(
    f"Write a Python function that {what}."
    for what in (
        "reverses a string", "sorts a list by length", "counts the vowels of a text", "merges two dictionaries",
        "computes a factorial", "removes duplicates from a list", "checks for a palindrome", "flattens a list",
        "reads a CSV file", "finds the longest word", "converts Celsius to Fahrenheit", "transposes a matrix",
        "splits a list into chunks", "counts the words of a file", "validates an e-mail address",
        "computes a moving average", "rotates a list", "finds the mode", "parses a date", "capitalises each word",
    )
)  # fmt: skip


def questions(seed: int, instructions: str = "calculations") -> tuple[list[str], list[str]]:
    """The questions that need a call under these instructions, and the 100 that need none."""
    drawn = LargeNumbers().problems("test", 70, seed=seed)
    problems = [f"{problem.messages[0]['content']} {MANNER}" for problem in drawn]
    due = {"calculations": problems, "facts": FACTS, "passages": PASSAGES, "code": CODE}
    return list(due[instructions]), [form.format(topic) for topic in TOPICS for form in FORMS]


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
