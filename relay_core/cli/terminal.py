"""What a person sees: who wrote what, by more than colour; and the JSON that a program sees instead.

On a terminal the teacher's words are underlined, bold and coloured; NO_COLOR takes the colour only. Where output is
not a terminal, answers are plain text and the line of usage quotes the teacher's words. Answers go to stdout; legends,
usage, progress and errors to stderr.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from relay_core.transcript import Author

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from relay_core.events import RelayResult

# Blue and orange stay apart for every common colour blindness; the underline says it without any.
STYLES = {Author.STUDENT: "", Author.TEACHER: "bold underline dark_orange"}


def out() -> Console:
    """The console of answers."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def err() -> Console:
    """The console of everything else."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def write_json(value: dict[str, Any]) -> None:
    """The one JSON object."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def error(message: str, *, kind: str, as_json: bool, text: str | None = None, hint: str = "") -> None:
    """Tell what went wrong; `text` is the answer so far."""
    if as_json:
        about: dict[str, Any] = {"type": kind, "message": message}
        write_json({"error": about if text is None else about | {"text": text}})
        return
    from rich.text import Text

    console = err()
    console.print(Text.assemble(("Error: ", "bold red"), plain(message)), soft_wrap=True)
    if hint:
        console.print(Text(f"({hint})", style="dim"), soft_wrap=True)


def plain(text: str) -> str:
    """Text that cannot move the cursor: a model may write escape sequences."""
    return "".join(c if c in "\n\t" or c.isprintable() or not _is_control(c) else "\ufffd" for c in text)


def _is_control(c: str) -> bool:
    return ord(c) < 32 or 127 <= ord(c) < 160


def authored(author: Author, text: str) -> Text:
    """A piece of an answer in its author's style."""
    from rich.text import Text

    return Text(plain(text), style=STYLES[author], end="")


def answer(result: RelayResult) -> Text:
    """A whole answer, each word in its author's style."""
    from rich.text import Text

    return Text.assemble(*(authored(s.author, s.text) for s in result.segments if s.author in STYLES))


def legend() -> Text:
    """Which style is whose."""
    from rich.text import Text

    return Text.assemble("student ", ("teacher", STYLES[Author.TEACHER]))


def usage_line(result: RelayResult, *, quote: bool) -> str:
    """One line: who wrote how much, in what time, for how much; with `quote`, the teacher's words too."""
    usage = result.usage
    said = f"{usage.teacher_tokens} of {usage.completion_tokens} tokens are the teacher's ({usage.call_ratio:.1%})"
    parts = [said, _plural(usage.calls, "call")]
    for count, what in ((usage.failed_calls, "failed"), (usage.refused_calls, "refused")):
        if count:
            parts.append(f"{count} {what}")
    if result.breaker not in (None, "closed"):
        parts.append(f"the teacher's circuit breaker is {result.breaker}")
    if result.seconds > 0:
        parts.append(f"{usage.completion_tokens / result.seconds:.0f} tokens/s")
    if result.cost is not None:
        parts.append(f"cost {result.cost:.3g} (teacher alone {result.cost_teacher_alone:.3g})")
    words = [s.text for s in result.segments if s.author is Author.TEACHER and s.text]
    if quote and words:
        parts.append("the teacher wrote: " + ", ".join(json.dumps(plain(w), ensure_ascii=False) for w in words))
    return "; ".join(parts)


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
