"""Whether the grader agrees with the published keys, and what a grading costs.

    python benchmarks/grading.py --data-dir ../shared/data      # about half a minute

The folder holds gsm8k, math500, minerva_math, olympiadbench and aime24 (those that it has are graded) as JSONL or
Parquet files in their published columns. Of each row, the published solution is graded by the row's key, which it must
agree with, and by the key of the row before, which it must not; rows with the same key as the row before are left out
there. At least 99% of either is asked of every benchmark, else the exit status is 1.

Most solutions of OlympiadBench are proofs, which state no final answer. They are graded as they are, which is reported
and not asked for (`olympiad-bench, as published`), and with the line "The final answer is ..." behind them, which the
prompt asks of a model: its content is the published answer in another notation, without dollar signs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.command_line import add_output_options, run_benchmark
from relay_core.errors import ConfigurationError, GradingError
from relay_core.evaluate.benchmarks import benchmark_from_spec
from relay_core.evaluate.dataset_rows import SUFFIXES, Row, file_rows
from relay_core.evaluate.grading import worker
from relay_core.evaluate.grading.final_answer import final_answer
from relay_core.evaluate.task import Problem, Task

ASKED = 0.99


@dataclass(frozen=True)
class Published:
    """A benchmark's file, and the solution in a row of it, if it has one; ``is_asked``: whether 99% are asked of it."""

    label: str
    benchmark: str
    file: str
    solution: Callable[[Row], str | None]
    is_asked: bool = True


def _proof(row: Row) -> str:
    return "\n".join(row["solution"])


def _proof_with_answer(row: Row) -> str:
    answer = ", ".join(row["final_answer"]).replace("$", "").replace("\\frac", "\\dfrac").strip(" .")
    return f"{_proof(row)}\nThe final answer is $\\boxed{{{answer}}}$."


ALL = (
    Published("gsm8k", "gsm8k", "gsm8k", lambda row: str(row["answer"])),
    Published("math-500", "math-500", "math500", lambda row: row.get("solution")),
    Published("minerva", "minerva", "minerva_math", lambda row: row.get("solution")),
    Published("olympiad-bench", "olympiad-bench", "olympiadbench", _proof_with_answer),
    Published("aime-2024", "aime-2024", "aime24", lambda row: row.get("solution")),
    Published("olympiad-bench, as published", "olympiad-bench", "olympiadbench", _proof, is_asked=False),
)


def graded(task: Task, text: str, problem: Problem) -> bool | str:
    """Whether the text is right, or why that cannot be said."""
    try:
        return task.grade(text, problem)
    except GradingError as error:
        return error.message


def compare(published: Published, rows: Sequence[Row], folder: Path) -> dict[str, Any]:
    """The figures of one benchmark, with every row that is not as it must be."""
    task: Any = benchmark_from_spec(published.benchmark, data_dir=folder)
    read = [(row, task.problem(row, i, f"{published.file}, row {i + 1}")) for i, row in enumerate(rows)]
    solved = ((published.solution(row), problem) for row, problem in read if problem is not None)
    pairs = [(text, problem) for text, problem in solved if text]
    began = time.perf_counter()
    own = [graded(task, text, problem) for text, problem in pairs]
    seconds = time.perf_counter() - began
    others = [
        (graded(task, text, problem), problem, following)
        for (_, problem), (text, following) in pairwise(pairs)
        if str(problem.answer) != str(following.answer)
    ]
    refused = [
        {"row": problem.id, "key": problem.answer, "states": final_answer(text), "reason": _reason(text, result)}
        for (text, problem), result in zip(pairs, own, strict=True)
        if result is not True
    ]
    taken = [
        {"row": problem.id, "key": problem.answer, "next": following.answer, "reason": _reason("", result)}
        for result, problem, following in others
        if result is not False
    ]
    return {
        "rows": len(pairs), "agrees": 1 - len(refused) / len(pairs), "disagreements": refused,
        "next_rows": len(others), "rejects_next": 1 - len(taken) / max(1, len(others)), "accepted_next": taken,
        "ms_per_grading": 1000 * seconds / len(pairs), "is_asked": published.is_asked,
    }  # fmt: skip


def _reason(text: str, result: bool | str) -> str:
    if isinstance(result, str):
        return result
    if result:
        return "it accepts that"
    return "states no final answer" if final_answer(text) is None else "states another answer"


def start_s() -> float:
    """Seconds from nothing to the first comparison by math-verify."""
    with_process = worker.Worker()
    began = time.perf_counter()
    with_process.ask({"right": "2x", "found": "x+x", "tolerance": 0.0})
    seconds = time.perf_counter() - began
    with_process.close()
    return seconds


def _files(folder: Path) -> Iterator[tuple[Published, list[Row]]]:
    for published in ALL:
        file = next((f for s in SUFFIXES if (f := folder / f"{published.file}{s}").is_file()), None)
        if file is not None:
            yield published, file_rows(file)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The figures of every benchmark in the folder."""
    folder = options.data_dir
    results = {published.label: compare(published, rows, folder) for published, rows in _files(folder)}
    if not results:
        names = ", ".join(dict.fromkeys(f"{published.file}.jsonl" for published in ALL))
        raise ConfigurationError(f"{folder} holds none of {names}: write the folder with the benchmarks' files")
    return {"start_s": start_s(), "benchmarks": results}


def passed(result: dict[str, Any]) -> bool:
    """Whether every benchmark of which it is asked has 99% of either."""
    asked = [r for r in result["benchmarks"].values() if r["is_asked"]]
    return all(min(r["agrees"], r["rejects_next"]) >= ASKED for r in asked)


def show(result: dict[str, Any]) -> None:
    """Print a table, and the rows that are not as they must be."""
    print(f"{'':<30} {'rows':>5} {'agrees':>8} {'next':>5} {'rejects':>8} {'ms':>6}")
    for label, r in result["benchmarks"].items():
        shares = f"{r['rows']:>5} {r['agrees']:>8.2%} {r['next_rows']:>5} {r['rejects_next']:>8.2%}"
        print(f"{label:<30} {shares} {r['ms_per_grading']:>6.2f}")
    print(f"math-verify's process started in {result['start_s']:.1f} s")
    for label, r in result["benchmarks"].items():
        for row in r["disagreements"] if r["is_asked"] else []:
            print(f"{label}, {row['row']}: key {json.dumps(row['key'])}, {row['reason']} {json.dumps(row['states'])}")
        for row in r["accepted_next"]:
            keys = f"key {json.dumps(row['key'])}, next {json.dumps(row['next'])}"
            print(f"{label}, {row['row']}: {keys}: {row['reason']}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="the folder with the files of the benchmarks")
    add_output_options(parser)
    options = parser.parse_args(arguments)
    return run_benchmark(options, lambda: measure(options), show, passed=passed)


if __name__ == "__main__":
    raise SystemExit(main())
