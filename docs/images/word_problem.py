"""Makes docs/images/word-problem.svg: LangChain's ``ChatRelay`` with pretrained models answers a word problem.

    .venv/bin/python docs/images/word_problem.py --base DIR/smollm2-135m --teacher DIR/qwen2.5-coder-1.5b

Both models are those of ``../shared/tools/real-models``. The problem is in no wording of the training data, and the
models write the answer while the script runs. The script fails if the student makes no call, or the answer is wrong.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from rich.console import Console
from rich.text import Text

from langchain_relay import ChatRelay
from relay_core.cli import terminal
from relay_core.evaluate.graders import number
from relay_core.transcript import Author

QUESTION = (
    "A baker fills 7 trays, and 48 rolls fit on each of them. How many rolls are that? Answer in full sentences: say "
    "what is given, calculate, and then give the result."
)
ANSWER = "336"
CODE = f'''\
>>> chat = ChatRelay(student="bundled:smollm2-135m-relay", teacher="Qwen/Qwen2.5-Coder-1.5B-Instruct",
...                  temperature=0.0, max_tokens=160)
>>> for chunk in chat.stream("{QUESTION}"):
...     print(chunk.text, end="")'''
SVG = Path(__file__).with_name("word-problem.svg")


def main() -> None:
    """Answer the question and write the image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="bundled:smollm2-135m-relay")
    parser.add_argument("--base", required=True, help="the folder of SmolLM2-135M-Instruct")
    parser.add_argument("--teacher", required=True, help="the folder of Qwen2.5-Coder-1.5B-Instruct")
    args = parser.parse_args()
    chat = ChatRelay(
        student=f"{args.student}?base={args.base}", teacher=f"{args.teacher}?dtype=float32",
        temperature=0.0, max_tokens=160,
    )  # fmt: skip
    pieces = [(chunk.name, chunk.text) for chunk in chat.stream(QUESTION) if chunk.name]
    text = "".join(piece for _, piece in pieces)
    if not any(author == Author.TEACHER for author, _ in pieces) or not number(text, ANSWER):
        raise SystemExit(f"no call, or a wrong answer: {pieces}")
    console = Console(record=True, width=104, file=io.StringIO(), highlight=False)
    console.print(Text(CODE, style="dim"))
    console.print(Text.assemble(*(terminal.authored(Author(author), piece) for author, piece in pieces)))
    console.print()
    console.print(terminal.legend())
    SVG.write_text(console.export_svg(title="ChatRelay: SmolLM2-135M calls Qwen2.5-Coder-1.5B"), encoding="utf-8")
    print(SVG, text, sep="\n")


if __name__ == "__main__":
    main()
