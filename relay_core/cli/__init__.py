"""The command line ``relay``. This module builds the application and turns exceptions into messages and exit codes.

    ask        relay ask: one answer, streamed
    chat       relay chat: a conversation
    demo       relay demo: measures student, relay and teacher on held-out problems
    tune       relay tune: chooses the numbers of a trigger on one's own prompts
    audit      relay audit: what a relay would have done on one's own prompts
    evaluate   relay eval: any methods on any benchmarks, with a report
    rollouts   relay rollouts: the answers of a training run
    doctor     relay doctor: shows what is installed, and whether a model answers
    on_prompts what tune and audit share
    options    the flags for models and settings that the CLI commands share
    terminal   the output of the CLI commands: styled answers, the usage line, errors, JSON

Heavy packages are imported only when a CLI command runs; ``relay --help`` does not load torch.

With ``--json``, every CLI command writes exactly one JSON object to stdout, even after an error. Exit codes: 0,
success; 1, the CLI command failed; 2, the command line is invalid; 130, interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from relay_core import __version__
from relay_core.cli import terminal
from relay_core.cli.ask import ask
from relay_core.cli.audit import audit
from relay_core.cli.chat import chat
from relay_core.cli.demo import demo
from relay_core.cli.doctor import doctor
from relay_core.cli.evaluate import evaluate
from relay_core.cli.rollouts import rollouts
from relay_core.cli.tune import tune
from relay_core.errors import RelayError


class _Group(TyperGroup):
    """Reports every exception of a CLI command, as JSON or as one line on stderr."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a CLI command; the parameters are those of click's ``main``."""
        args = list(sys.argv[1:] if args is None else args)
        as_json = "--json" in args
        # In standalone mode, click would report errors itself, and never as JSON.
        click_reports = standalone_mode and not as_json
        try:
            code = super().main(args, prog_name, complete_var, click_reports, windows_expand_args, **extra)
        except Exception as error:
            code = self._report(error, as_json)
        if standalone_mode:
            sys.exit(code if isinstance(code, int) else 0)
        return code

    @staticmethod
    def _report(error: Exception, as_json: bool) -> int:
        """Print the error and return the exit code. If RELAY_DEBUG is set, raise errors that are not a RelayError."""
        if isinstance(error, RelayError):
            text_so_far = None if error.transcript is None else error.transcript.reader_text
            terminal.print_error(str(error), kind=type(error).__name__, as_json=as_json, text=text_so_far)
            return 1
        if hasattr(error, "format_message"):  # click's errors about the command line
            terminal.print_error(error.format_message(), kind="UsageError", as_json=as_json)
            return int(getattr(error, "exit_code", 2))
        if os.environ.get("RELAY_DEBUG"):
            raise error
        terminal.print_error(
            f"{type(error).__name__}: {error}",
            kind=type(error).__name__,
            as_json=as_json,
            hint="this is not an error that relay knows; RELAY_DEBUG=1 shows where it comes from",
        )
        return 1


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
app.command()(tune)
app.command()(audit)
app.command("eval")(evaluate)
app.command()(rollouts)
app.command()(doctor)


def _version(is_requested: bool) -> None:
    if is_requested:
        typer.echo(f"relay-decoding {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    # The CLI commands print failed calls themselves; without this handler, logging would print them a second time.
    logging.getLogger("relay_core").addHandler(logging.NullHandler())


def main() -> None:
    """The console script ``relay``."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a character that the terminal cannot encode must not raise an error
    app()
