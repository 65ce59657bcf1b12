"""How sure a student was of its calls, from answers that are there:

    python -m benchmarks.call_certainty answers.jsonl.gz --label answers+grpo \\
        --student 'bundled:smollm2-135m-relay?base=DIR/smollm2-135m'

The student reads each answer up to its first call. Its certainty there is the log-odds of the command's first token:
log(p / (1 - p)), where p is the token's probability. With a bias of ``Commands`` below minus this number, it would
have written something else. The table has the quartiles of easy and of hard problems, and in how many of all answers
the certainty is above 0, 1, 2, 3 and 4.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import ladder_answers
from benchmarks.command_line import add_output_options, run_benchmark
from relay_core.chat import Conversation, render_async
from relay_core.engines.base import Engine
from relay_core.engines.spec import engine_from_spec
from relay_core.errors import ConfigurationError
from relay_core.evaluate.benchmarks import benchmark_from_spec
from relay_core.evaluate.objections import scores, scores_texts
from relay_core.evaluate.records import Record
from relay_core.evaluate.task import Problem

ABOVE = (0, 1, 2, 3, 4)


def log_odds(logprob: float) -> float:
    """log(p / (1 - p)) of a log-probability."""
    return logprob - math.log(max(-math.expm1(min(logprob, 0.0)), 1e-12))


async def certainty(student: Engine, problem: Problem, record: Record) -> float | None:
    """The log-odds of the first command of an answer; ``None`` without a command.

    The parts of an answer are encoded one by one, since each author's text begins with a token of its own.
    """
    tokenizer = student.tokenizer
    assert tokenizer is not None
    before: list[int] = []
    for part in record.outcome.parts:
        ids = tokenizer.encode(part.text)
        if part.author == "command":
            prompt = await render_async(tokenizer, Conversation.of(problem.messages))
            read = await scores(student, prompt.token_ids, [*before, ids[0]])
            return log_odds(read.logprobs[-1])
        before += ids
    return None


def summary(records: Sequence[Record], certainties: Sequence[float | None]) -> dict[str, dict[str, Any]]:
    """For each group of problems: the answers, the calls, and the certainties of the latter."""
    made = {}
    for group in dict.fromkeys(record.group for record in records):
        values = [value for record, value in zip(records, certainties, strict=True) if record.group == group]
        found = [value for value in values if value is not None]
        made[group] = {
            "answers": len(values),
            "calls": len(found),
            "quartiles": statistics.quantiles(found, n=4) if len(found) > 1 else None,
            "above": {str(bound): sum(value > bound for value in found) / len(values) for bound in ABOVE},
        }
    return made


async def measure(file: Path, label: str, spec: str) -> dict[str, Any]:
    """Read the answers of a method."""
    found = ladder_answers.answered(file)
    if label not in found:
        raise ConfigurationError(f"{file} has no answers of {label!r}: write one of {', '.join(found)}")
    records = found[label]
    benchmark = benchmark_from_spec(records[0].benchmark)
    problems = ladder_answers.problems_of(benchmark, [record.problem for record in records])
    student = engine_from_spec(spec, role="student")
    try:
        await student.start()
        if not scores_texts(student):
            raise ConfigurationError(f"{spec} cannot read a text: write a student on transformers in this process")
        values = [await certainty(student, problems[record.problem], record) for record in records]
    finally:
        await student.aclose()
    return {"groups": summary(records, values)}


def show(result: Mapping[str, Any]) -> None:
    """Print the table."""
    bounds = " | ".join(f"above {bound} %" for bound in ABOVE)
    print(f"| problems | answers | calls | lower quartile | median | upper quartile | {bounds} |")
    print(f"| --- |{' ---: |' * (5 + len(ABOVE))}")
    for group, row in result["groups"].items():
        quartiles = [""] * 3 if row["quartiles"] is None else [f"{value:.1f}" for value in row["quartiles"]]
        shares = [f"{100 * share:.0f}" for share in row["above"].values()]
        print("| " + " | ".join([group, str(row["answers"]), str(row["calls"]), *quartiles, *shares]) + " |")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="answers of relay eval to word problems")
    parser.add_argument("--label", required=True, help="the method whose answers are read")
    parser.add_argument("--student", required=True, help="engine spec of the student that gave them")
    add_output_options(parser)
    options = parser.parse_args(argv)
    return run_benchmark(options, lambda: asyncio.run(measure(options.file, options.label, options.student)), show)


if __name__ == "__main__":
    raise SystemExit(main())
