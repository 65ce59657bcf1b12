"""Draws answers of an evaluation at random, as a picture in which the teacher's words are coloured.

    .venv/bin/python docs/images/answers.py RESULTS/records.parquet --method LABEL --out docs/images/word-problems.svg

The answers are drawn by ``--seed`` from all answers of the method, right and wrong ones.
"""

from __future__ import annotations

import argparse
import io
import random
from pathlib import Path

from rich.console import Console
from rich.text import Text

from relay_core.cli import terminal
from relay_core.evaluate import records
from relay_core.transcript import Author


def main() -> None:
    """Draw the answers and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path)
    parser.add_argument("--method", default="relay", help="the label of the method")
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    found = [record for record in records.read(args.records) if record.label == args.method]
    if len(found) < args.n:
        raise SystemExit(f"{args.records} holds {len(found)} answers of {args.method!r}: lower --n or write a --method")
    console = Console(record=True, width=110, file=io.StringIO(), highlight=False)
    for record in random.Random(args.seed).sample(found, args.n):
        console.print(
            Text(f"{record.problem} ({record.group}): {record.status}; the answer is {record.gold}", style="dim")
        )
        console.print(Text.assemble(*(written(part.author, part.text) for part in record.outcome.parts)))
        console.print()
    console.print(terminal.legend())
    args.out.write_text(console.export_svg(title=f"{args.n} answers drawn at random"), encoding="utf-8")
    print(args.out)


def written(author: str, text: str) -> Text:
    """What one author wrote; commands are left out, and line breaks are shown as a mark."""
    who = Author(author)
    return terminal.authored(who, " / ".join(text.split("\n"))) if who in terminal.STYLES else Text()


if __name__ == "__main__":
    main()
