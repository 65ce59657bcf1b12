"""The command line: `relay ask | chat | demo | doctor`.

One module a command; what they share is in `options.py` (flags -> engines and settings) and `terminal.py` (colours,
JSON). Nothing heavy is imported before a command runs: `relay --help` loads no torch.

Every command takes `--json`: one JSON object on stdout and nothing else there, errors included. Exit codes: 0; 1, it
could not be done; 2, the command line is wrong; 130, interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from relay_core import __version__
from relay_core.cli import terminal
from relay_core.cli.ask import ask
from relay_core.cli.chat import chat
from relay_core.cli.demo import demo
from relay_core.cli.doctor import doctor
from relay_core.errors import RelayError


class _Group(TyperGroup):
    """Says in one place how anything that goes wrong is told: as JSON, or in one line on stderr."""

    def main(self, *given: Any, **options: Any) -> Any:
        args = given[0] if given else options.pop("args", None)
        args = list(sys.argv[1:] if args is None else args)
        as_json = "--json" in args
        standalone_mode = options.pop("standalone_mode", True)
        try:
            code = super().main(args, standalone_mode=standalone_mode and not as_json, **options)
        except RelayError as error:
            code = 1
            self.report(error, as_json)
        except Exception as error:
            if hasattr(error, "format_message"):  # a wrong command line, as typer tells it
                code = int(getattr(error, "exit_code", 2))
                terminal.error(error.format_message(), kind="UsageError", as_json=as_json)
            elif os.environ.get("RELAY_DEBUG"):
                raise
            else:
                code = 1
                message = f"{type(error).__name__}: {error}"
                hint = "this is not an error that relay knows; RELAY_DEBUG=1 shows where it comes from"
                terminal.error(message, kind=type(error).__name__, as_json=as_json, hint=hint)
        if standalone_mode:
            sys.exit(code if isinstance(code, int) else 0)
        return code

    @staticmethod
    def report(error: RelayError, as_json: bool) -> None:
        """An error of ours: its message, and the answer so far where there is one."""
        partial = None if error.transcript is None else error.transcript.reader_text
        terminal.error(str(error), kind=type(error).__name__, as_json=as_json, text=partial)


app = typer.Typer(
    name="relay",
    cls=_Group,
    help="A small student model writes; where it cannot go on alone it calls a large teacher for a few tokens.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)
app.command()(ask)
app.command()(chat)
app.command()(demo)
app.command()(doctor)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"relay-decoding {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    logging.getLogger("relay_core").addHandler(logging.NullHandler())  # commands say themselves what failed


def main() -> None:
    """The console script `relay`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character is no reason to fail
    app()
