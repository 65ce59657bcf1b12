"""Reproduce the paper's tables and figures for a pair of models.

    python -m relay_core.evaluate.reproduce                       # the bundled pair, from the weights that ship
    python -m relay_core.evaluate.reproduce --limit 100 --seeds 0 # a quick look

Students of the ablations that are missing are trained first (about 15 minutes each on one core). The answers are kept
in --work, so that a run that was killed goes on; the page and its pictures are written to --out.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from relay_core.errors import RelayError
from relay_core.evaluate.evaluator import evaluate
from relay_core.evaluate.prices import EXAMPLE_PRICES
from relay_core.evaluate.report.summary import BenchmarkSummary
from relay_core.evaluate.report.tables import Table, tables
from relay_core.evaluate.reproduce.page import write_page
from relay_core.evaluate.reproduce.pairs import PAIRS, Pair, pair_named
from relay_core.evaluate.reproduce.paper import directions
from relay_core.evaluate.reproduce.sections import (
    Specs,
    ablation_table,
    direction_table,
    main_table,
    order_table,
    router_table,
)
from relay_core.evaluate.reproduce.students import ablation_students, citer_head
from relay_core.evaluate.run import shown


def reproduce(
    pair: Pair,
    work: Path,
    out: Path,
    *,
    seeds: Sequence[int],
    limit: int | None,
    train: bool,
    command: str,
    data_dir: Path | None = None,
) -> Path:
    """Train what is missing, evaluate with every seed, and write the page; returns its path.

    Args:
        pair: the pair of models.
        work: a folder for students, answers and reports.
        out: a folder for the page.
        seeds: one evaluation each; a seed draws other problems.
        limit: problems of each benchmark; ``None`` means the pair's own number.
        train: whether to train what is missing.
        command: the command that made it, for the page.
        data_dir: the files of the benchmarks, instead of the hub.

    Raises:
        RelayError: a student is missing or cannot be trained, or an engine failed; all earlier answers are kept.
    """
    students = ablation_students(pair, work / "students", train=train)
    needs_head = "{citer}" in pair.methods
    head = citer_head(pair, work / "students", train=train) if needs_head else ""
    specs = {
        **{f"ablation:{name}": f"relay,student={spec},label={name}" for name, spec in students.items()},
        **{f"weak:{label}": f"relay,teacher={spec},label=with {label}" for label, spec in pair.weak_teachers.items()},
        "citer": f"citer:{head}",
    }
    methods = [method.format(citer=f"citer:{head}", teacher=pair.teacher) for method in pair.methods]
    extra = [spec for name, spec in specs.items() if name != "citer"]
    began = time.monotonic()
    done = {
        seed: evaluate(
            pair.benchmarks,
            [*methods, *extra],
            student=pair.student,
            teacher=pair.teacher,
            base=pair.base,
            settings=dict(pair.settings),
            limit=limit or pair.limit,
            seed=seed,
            out=work / f"seed-{seed}",
            data_dir=data_dir,
            title=f"{pair.name}, seed {seed}",
            command=command,
            stage=shown,
        )
        for seed in seeds
    }
    minutes = (time.monotonic() - began) / 60
    by_seed = {seed: evaluated.summaries for seed, evaluated in done.items()}
    tables = _tables(pair, by_seed, lambda name: specs.get(name, name))
    pictures = work / f"seed-{seeds[0]}" / "pictures"
    return write_page(out, pair, by_seed, tables, pictures, command=command, minutes=minutes)


def _tables(pair: Pair, by_seed: Mapping[int, Sequence[BenchmarkSummary]], specs: Specs) -> list[Table]:
    """All tables: those of the paper, the order of the methods for each seed, and everything that was measured."""
    first = next(iter(by_seed.values()))
    own = {seed: summaries[0] for seed, summaries in by_seed.items()}
    groups = list(first[0].methods[0].groups)
    compared = directions(list(pair.weak_teachers), groups[:1], groups[1:])
    return [
        main_table(first[0], specs),
        router_table(first[0]),
        ablation_table(first[0], specs),
        direction_table(first, compared, specs, pair.unseen),
        *([order_table(own, [m.method for m in first[0].methods])] if len(own) > 1 else []),
        *(main_table(summary, specs) for summary in first[1:]),
        *(
            replace(table, title=f"{summary.title}, seed {seed}: {table.title[0].lower()}{table.title[1:]}")
            for seed, summaries in by_seed.items()
            for summary in summaries
            for table in tables(summary, EXAMPLE_PRICES)
        ),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m relay_core.evaluate.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pair", default="bundled", help=", ".join(PAIRS))
    parser.add_argument("--out", type=Path, help="the folder of the page; default: docs/reproduction/PAIR")
    parser.add_argument("--work", type=Path, help="students, answers and reports; default: build/reproduce/PAIR")
    parser.add_argument("--seeds", type=int, nargs="+", help="one evaluation each; default: the pair's own, mostly 0 1")
    parser.add_argument("--student", help="another place of the pair's student, such as a folder")
    parser.add_argument("--teacher", help="another place of its teacher")
    parser.add_argument("--data-dir", type=Path, help="a folder with the benchmarks' files, instead of the hub")
    parser.add_argument("--limit", type=int, help="problems of each benchmark")
    parser.add_argument("--no-train", action="store_true", help="end with an error where a student is missing")
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(given)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        pair = pair_named(options.pair)
        pair = replace(pair, student=options.student or pair.student, teacher=options.teacher or pair.teacher)
        page = reproduce(
            pair,
            options.work or Path("build/reproduce") / pair.name,
            options.out or Path("docs/reproduction") / pair.name,
            seeds=options.seeds or pair.seeds,
            limit=options.limit,
            train=not options.no_train,
            data_dir=options.data_dir,
            command=shlex.join(["python", "-m", "relay_core.evaluate.reproduce", *given]),
        )
    except RelayError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 1
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
