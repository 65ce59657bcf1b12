"""``relay ask QUESTION``: one answer, streamed with the teacher's words marked, and a usage line."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay_core.cli import terminal
from relay_core.cli.options import Options, with_options
from relay_core.errors import ConfigurationError, RelayError
from relay_core.events import CallEnded, Event, Finished, RelayResult, TextDelta
from relay_core.unicode import printable

if TYPE_CHECKING:
    from rich.console import Console


@with_options
def ask(
    question: Annotated[
        str, typer.Argument(metavar="QUESTION", help="The question; - reads it from stdin.", show_default=False)
    ],
    options: Options,
    system: Annotated[str | None, typer.Option(help="A system message.", show_default=False)] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write the answer, with its authors marked, into this HTML file.", show_default=False),
    ] = None,
) -> None:
    """Answer one question; the teacher's words are marked."""
    text = sys.stdin.read() if question == "-" else question
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": text})
    with options.relay() as relay:
        if options.json:
            result = relay.generate(messages)
            terminal.print_json(result.as_dict())
        else:
            result = show(relay.stream(messages), legend=True)
            if hint := options.hint(result):
                terminal.err().print(hint, soft_wrap=True, markup=False)
    if html is not None:
        _write(html, result.to_html(title=text))


def _write(path: Path, content: str) -> None:
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--html {path} cannot be written: {error.strerror or error}") from error


def show(events: Iterable[Event], *, legend: bool) -> RelayResult:
    """Print an answer while it is streamed, then failed calls and the usage line on stderr; returns the result.

    Args:
        events: the events of one answer.
        legend: whether to print the author of each style, if stdout is a terminal.

    Raises:
        RelayError: the answer failed, or the stream ended without a result.
    """
    out, err = terminal.out(), terminal.err()
    result: RelayResult | None = None
    failures: list[str] = []
    with err.status("loading the models") as spinner:  # shown on a terminal only
        for event in events:
            spinner.stop()
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
    _print_report(err, result, failures, styled=out.is_terminal, legend=legend)
    return result


def _print_report(err: Console, result: RelayResult, failures: Sequence[str], *, styled: bool, legend: bool) -> None:
    from rich.text import Text

    for failure in failures:
        err.print(
            Text(f"a call failed, and the student continued alone: {printable(failure)}", style="red"), soft_wrap=True
        )
    for remark in terminal.remarks(result):
        err.print(Text(remark, style="dim"), soft_wrap=True)
    line = Text(terminal.usage_line(result, quote=not styled), style="dim")
    if styled and legend:
        line = Text.assemble(terminal.legend(), Text(" | ", style="dim"), line)
    err.print(line, soft_wrap=True)
