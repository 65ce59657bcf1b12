"""The tables of ladder.py from answers that are there, such as those in docs/reproduction/word-problems:

    python -m benchmarks.ladder_answers docs/reproduction/word-problems/answers.jsonl.gz
    python -m benchmarks.ladder_answers answers.jsonl.gz answers-seed-1.jsonl.gz    # both seeds together
    python -m benchmarks.ladder_answers answers-unseen.jsonl.gz --reference relay --kinds area

A file holds lines of an `answers.jsonl` of `relay eval` on word problems. No model is needed. Answers are graded anew;
the throughput, and what training has cost, are not in them. The most accurate method comes first.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import ladder, ladder_table
from benchmarks.command_line import add_output_options, run_benchmark
from relay_core.errors import ConfigurationError
from relay_core.evaluate.benchmarks import Benchmark, benchmark_from_spec
from relay_core.evaluate.grades import Grader
from relay_core.evaluate.outcome import Outcome
from relay_core.evaluate.records import Record
from relay_core.evaluate.task import Problem

ALONE = {"student": ladder_table.STUDENTS[0], "teacher": ladder_table.TEACHER}


def answered(path: Path, kinds: Sequence[str] = ()) -> dict[str, list[Record]]:
    """The answers in a file, graded, by the label of their method.

    Args:
        path: JSON lines, also compressed (``.gz``).
        kinds: the families of problems whose answers are wanted; empty for all.

    Raises:
        ConfigurationError: there is no such file, or its problems are not those of one benchmark of word problems.
    """
    if not path.is_file():
        raise ConfigurationError(f"there is no file {path}: write one with answers of relay eval")
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        names = {row["benchmark"] for row in rows}
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ConfigurationError(f"{path} holds no answers of relay eval: {error!r}") from error
    if len(names) != 1 or not next(iter(names)).startswith("word-problems"):
        raise ConfigurationError(
            f"{path} has answers to {', '.join(names) or 'nothing'}: write a file of word-problems"
        )
    benchmark = benchmark_from_spec(names.pop())
    split, grader = split_of(rows[0]["problem"]), Grader(benchmark)
    problems = problems_of(benchmark, [row["problem"] for row in rows])
    found: dict[str, list[Record]] = {}
    for row in rows:
        if row["problem"] not in problems:
            raise ConfigurationError(
                f"{path}: {row['problem']} is none of the first {len(problems)} problems of {split}"
            )
        if kinds and row["problem"].split("/")[1] not in kinds:
            continue
        outcome, label = Outcome.of_row(row["outcome"]), label_of(row["method"])
        names = {"method": row["method"], "label": label, "curve": label}
        found.setdefault(label, []).append(grader.record(problems[row["problem"]], outcome, seed=row["seed"], **names))
    if not found:
        raise ConfigurationError(f"{path} has no answers to problems of {', '.join(kinds)}: write other --kinds")
    return found


def split_of(problem: str) -> str:
    """The split in the id of a word problem."""
    return problem.partition("/")[0]


def problems_of(benchmark: Benchmark, ids: Sequence[str]) -> dict[str, Problem]:
    """As many problems as there are different ids, from the split of the first one, by id."""
    split = split_of(ids[0])
    drawn = benchmark.problems("test" if split == "unseen" else split, len(set(ids)))
    return {problem.id: problem for problem in drawn}


def label_of(method: str) -> str:
    """The label of a method's spec, such as ``uncertain 0.13,4`` of ``uncertain:0.13,4``."""
    _, found, label = method.partition(",label=")
    if found or method in ALONE:
        return label or ALONE[method]
    name, _, arguments = method.partition(":")
    return f"{name.replace('-', ' ')} {arguments.replace('=', ' ')}".strip()


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="of one seed each")
    parser.add_argument("--reference", default=ladder.REFERENCE, help="the method from which differences are taken")
    parser.add_argument("--kinds", nargs="*", default=[], help="only these families of problems, such as area")
    add_output_options(parser)
    options = parser.parse_args(argv)

    def measure() -> dict[str, Any]:
        files = [answered(path, options.kinds) for path in options.files]
        unknown: Mapping[str, None] = dict.fromkeys(("tokens_per_s", "hours", "teacher_wrote"))
        pooled = ladder.pooled(files)
        if not pooled:
            raise ConfigurationError("the files have no method in common: write files with answers of the same methods")
        found = ladder_table.figures(pooled, reference=options.reference)
        rows = [{**figures, "label": label, **unknown} for label, figures in found.items()]
        return {"rows": sorted(rows, key=lambda row: row["accuracy"], reverse=True)}

    return run_benchmark(options, measure, lambda result: ladder.show(result, options.reference))


if __name__ == "__main__":
    raise SystemExit(main())
