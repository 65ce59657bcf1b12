"""The output of the CLI commands: answers with the author of each word marked, the usage line, errors, and JSON.

On a terminal, the teacher's words are underlined, bold and coloured; NO_COLOR removes only the colour. If stdout is not
a terminal, answers are plain text and the usage line quotes the teacher's words. Answers go to stdout; the legend,
usage, progress and errors go to stderr.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from relay_core.transcript import Author
from relay_core.unicode import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from relay_core.events import RelayResult

# Orange differs from the default colour in every common form of colour blindness; the underline needs no colour.
STYLES = {Author.STUDENT: "", Author.TEACHER: "bold underline dark_orange"}


def out() -> Console:
    """The console for answers: stdout."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def err() -> Console:
    """The console for everything else: stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_json(value: dict[str, Any]) -> None:
    """Write the JSON object of a CLI command to stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_error(message: str, *, kind: str, as_json: bool, text: str | None = None, hint: str = "") -> None:
    """Report an error: a JSON object on stdout, or one line on stderr.

    Args:
        message: what went wrong.
        kind: the name of the error's class; shown only in JSON.
        as_json: whether to write JSON.
        text: the answer so far, if there is one; shown only in JSON.
        hint: a second line for the user; not shown in JSON.
    """
    if as_json:
        fields: dict[str, Any] = {"type": kind, "message": message}
        print_json({"error": fields if text is None else fields | {"text": text}})
        return
    from rich.text import Text

    console = err()
    console.print(Text.assemble(("Error: ", "bold red"), printable(message)), soft_wrap=True)
    if hint:
        console.print(Text(f"({hint})", style="dim"), soft_wrap=True)


def authored(author: Author, text: str) -> Text:
    """A piece of an answer, in the style of its author."""
    from rich.text import Text

    return Text(printable(text), style=STYLES[author], end="")


def answer(result: RelayResult) -> Text:
    """A whole answer, each piece in the style of its author; commands are left out."""
    from rich.text import Text

    return Text.assemble(*(authored(s.author, s.text) for s in result.segments if s.author in STYLES))


def remarks(result: RelayResult) -> list[str]:
    """What the engines and the loop report about an answer, a line each."""
    return [f"{name}: {printable(str(value))}" for name, value in result.notes.items()]


def legend() -> Text:
    """A legend that names the author of each style."""
    from rich.text import Text

    return Text.assemble("student ", ("teacher", STYLES[Author.TEACHER]))


def usage_line(result: RelayResult, *, quote: bool) -> str:
    """One line about an answer: each author's tokens, calls, speed and cost.

    Args:
        result: the answer.
        quote: whether to add the teacher's words.
    """
    usage = result.usage
    parts = [
        f"{usage.teacher_tokens} of {usage.completion_tokens} tokens are the teacher's ({usage.call_ratio:.1%})",
        _plural(usage.calls, "call"),
    ]
    for count, outcome in ((usage.failed_calls, "failed"), (usage.refused_calls, "refused")):
        if count:
            parts.append(f"{count} {outcome}")
    if result.finish_reason == "length":
        parts.append("cut at max_tokens")
    if result.breaker not in (None, "closed"):
        parts.append(f"the teacher's circuit breaker is {result.breaker}")
    if result.seconds > 0:
        parts.append(f"{usage.completion_tokens / result.seconds:.0f} tokens/s")
    if result.cost is not None:
        parts.append(f"cost {result.cost:.3g} (teacher alone {result.cost_teacher_alone:.3g})")
    teacher_texts = [s.text for s in result.segments if s.author is Author.TEACHER and s.text]
    if quote and teacher_texts:
        quoted = (json.dumps(printable(text), ensure_ascii=False) for text in teacher_texts)
        parts.append(f"the teacher wrote: {', '.join(quoted)}")
    return "; ".join(parts)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
