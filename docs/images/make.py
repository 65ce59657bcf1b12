"""Makes docs/images/answer.svg: an answer of the bundled pair, as `relay ask` shows it on a terminal.

    .venv/bin/python docs/images/make.py

The question is not in the training data, and the models write the answer while the script runs. The script fails if the
student makes no call.
"""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from rich.text import Text

from relay_core import Relay
from relay_core.cli import terminal

QUESTION = (
    "A box of pens holds 27 pieces. Max sells pens. First, Max orders 8 boxes. Second, a friend brings 300 more pens. "
    "Third, Max sells 2 pens. How many are there in the end?"
)
SVG = Path(__file__).with_name("answer.svg")


def main() -> None:
    """Answer the question and write the image."""
    with Relay() as relay:
        result = relay.generate(QUESTION)
    if not result.usage.teacher_tokens:
        raise SystemExit(f"the relay did not call: {result.text}")
    console = Console(record=True, width=96, file=io.StringIO(), highlight=False)
    console.print(Text.assemble(("$ ", "dim"), 'relay ask "', QUESTION, '"'))
    console.print(terminal.answer(result))
    line = terminal.usage_line(result, quote=False)
    console.print(Text.assemble(terminal.legend(), Text(f" | {line}", style="dim")))
    SVG.write_text(console.export_svg(title="relay ask"), encoding="utf-8")
    print(SVG, result.text, sep="\n")


if __name__ == "__main__":
    main()
