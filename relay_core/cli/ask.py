"""`relay ask QUESTION`: one answer, streamed, the teacher's words marked, and a line of usage."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from relay_core.cli import terminal
from relay_core.cli.options import Options, with_options
from relay_core.errors import RelayError
from relay_core.events import CallEnded, Event, Finished, RelayResult, TextDelta


@with_options
def ask(
    question: Annotated[
        str, typer.Argument(metavar="QUESTION", help="What to ask; - reads it from stdin.", show_default=False)
    ],
    options: Options,
    system: Annotated[str | None, typer.Option(help="A system message.", show_default=False)] = None,
) -> None:
    """Answer one question; the teacher's words are marked."""
    text = sys.stdin.read() if question == "-" else question
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": text})
    with options.relay() as relay:
        if options.json:
            terminal.write_json(relay.generate(messages).as_dict())
        else:
            show(relay.stream(messages), console_legend=True)


def show(events: Iterable[Event], *, console_legend: bool = False) -> RelayResult:
    """Print an answer as it comes; then, on stderr, the legend and the line of usage."""
    out, err = terminal.out(), terminal.err()
    result: RelayResult | None = None
    failures: list[str] = []
    with err.status("loading the models") as waiting:  # a spinner on a terminal, nothing elsewhere
        for event in events:
            waiting.stop()
            if isinstance(event, TextDelta) and event.text:
                if out.is_terminal:
                    out.print(terminal.authored(event.author, event.text), end="")
                else:
                    out.file.write(event.text)
                    out.file.flush()
            elif isinstance(event, CallEnded) and event.error:
                failures.append(event.error)
            elif isinstance(event, Finished):
                result = event.result
    if result is None:
        raise RelayError("the stream ended without a result")
    out.file.write("\n")
    out.file.flush()
    _after(err, result, failures, styled=out.is_terminal, legend=console_legend)
    return result


def _after(err: Any, result: RelayResult, failures: Sequence[str], *, styled: bool, legend: bool) -> None:
    from rich.text import Text

    for failure in failures:
        err.print(Text(f"a call failed, the student went on: {terminal.plain(failure)}", style="red"), soft_wrap=True)
    line = Text(terminal.usage_line(result, quote=not styled), style="dim")
    if styled and legend:
        line = Text.assemble(terminal.legend(), Text(" | ", style="dim"), line)
    err.print(line, soft_wrap=True)
