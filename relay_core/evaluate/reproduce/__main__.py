"""Reproduce the paper's tables and figures for a pair of models.

    python -m relay_core.evaluate.reproduce                       # the bundled pair, from the weights that ship
    python -m relay_core.evaluate.reproduce --limit 20 --seeds 0  # a quick look, of 3 minutes, in build/

The page and its pictures are written to --out. The students of the paper's ablations lie in
docs/reproduction/PAIR/students; those that are missing there are trained first, in --work (about 15 minutes each on one
core). The answers are kept in --work, so that a run that was killed goes on.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from relay_core.errors import RelayError
from relay_core.evaluate.reproduce.beside import check_processes
from relay_core.evaluate.reproduce.pairs import PAIRS, pair_named
from relay_core.evaluate.reproduce.reproduction import PAGES, Reproduction


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m relay_core.evaluate.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pair", default="bundled", help=", ".join(PAIRS))
    parser.add_argument(
        "--out",
        type=Path,
        help="folder of the page; default: docs/reproduction/PAIR; with --limit or --seeds, build/reproduction/PAIR",
    )
    parser.add_argument("--work", type=Path, help="students, answers and reports; default: build/reproduce/PAIR")
    parser.add_argument("--seeds", type=int, nargs="+", help="one evaluation each; default: the pair's own, mostly 0 1")
    parser.add_argument("--student", help="another place of the pair's student, such as a folder")
    parser.add_argument("--teacher", help="another place of its teacher")
    parser.add_argument("--data-dir", type=Path, help="a folder with the benchmarks' files, instead of the hub")
    parser.add_argument("--limit", type=int, help="the most problems of each benchmark")
    parser.add_argument("--processes", type=int, help="seeds evaluated beside each other; default: the pair's own")
    parser.add_argument("--no-train", action="store_true", help="end with an error where a student is missing")
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(given)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        pair = pair_named(options.pair)
        is_part = options.limit is not None or options.seeds not in (None, list(pair.seeds))
        reproduction = Reproduction(
            pair=pair,
            out=options.out or (Path("build/reproduction") if is_part else PAGES) / pair.name,
            work=options.work or Path("build/reproduce") / pair.name,
            seeds=options.seeds or pair.seeds,
            limit=options.limit,
            train=not options.no_train,
            command=shlex.join(["python", "-m", "relay_core.evaluate.reproduce", *given]),
            data_dir=options.data_dir,
            student=options.student,
            teacher=options.teacher,
            processes=check_processes(pair.processes if options.processes is None else options.processes),
        )
        page = reproduction.write()
    except RelayError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 1
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
