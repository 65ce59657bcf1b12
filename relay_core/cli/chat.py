"""`relay chat`: a conversation; its history is kept, an interrupt ends the answer and not the conversation."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any

import typer

from relay_core.cli import terminal
from relay_core.cli.ask import show
from relay_core.cli.options import Options, with_options
from relay_core.errors import RelayError
from relay_core.events import RelayResult
from relay_core.relay import Relay
from relay_core.usage import Usage

HELP = "/exit ends, /new forgets what was said, /help says this again; Ctrl-C cuts an answer short"


@with_options
def chat(
    options: Options,
    system: Annotated[str | None, typer.Option(help="A system message.", show_default=False)] = None,
) -> None:
    """Talk with the pair; what was said before is kept. With --json: one message a line on stdin."""
    with options.relay() as relay:
        conversation = Conversation(relay, system)
        if options.json:
            _from_stdin(conversation)
        else:
            _at_terminal(conversation)


class Conversation:
    """What was said so far; a turn that fails or is cut short leaves no trace in it."""

    def __init__(self, relay: Relay, system: str | None = None) -> None:
        self.relay = relay
        self.system: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
        self.messages = list(self.system)

    def asked(self, text: str) -> list[dict[str, Any]]:
        """The messages with which to ask `text`."""
        return [*self.messages, {"role": "user", "content": text}]

    def keep(self, text: str, result: RelayResult) -> None:
        """Remember a question and its answer."""
        self.messages = [*self.asked(text), {"role": "assistant", "content": result.text}]

    def forget(self) -> None:
        """Begin anew."""
        self.messages = list(self.system)


def _from_stdin(conversation: Conversation) -> None:
    turns: list[dict[str, Any]] = []
    usages: list[Usage] = []
    for line in sys.stdin:
        text = line.rstrip("\n")
        if text.strip() == "/exit":
            break
        if not text.strip():
            continue
        result = conversation.relay.generate(conversation.asked(text))
        conversation.keep(text, result)
        turns.append({"question": text, **result.as_dict()})
        usages.append(result.usage)
    terminal.write_json({"turns": turns, "usage": Usage.total(usages).as_dict()})


def _at_terminal(conversation: Conversation) -> None:
    err = terminal.err()
    err.print(HELP, style="dim", soft_wrap=True)
    first = True
    for text in _typed():
        if text == "/new":
            conversation.forget()
            continue
        if text.startswith("/"):
            err.print(HELP, style="dim", soft_wrap=True)
            continue
        try:
            result = show(conversation.relay.stream(conversation.asked(text)), console_legend=first)
        except KeyboardInterrupt:
            err.print("\n(cut short; not kept)", style="dim")
        except RelayError as error:
            terminal.error(str(error), kind=type(error).__name__, as_json=False)
        else:
            conversation.keep(text, result)
            first = False


def _typed() -> Iterator[str]:
    """Lines of the user until /exit, the end of input, or an interrupt."""
    if sys.stdin.isatty():
        with suppress(ImportError):
            import readline  # noqa: F401 - line editing and history
    while True:
        try:
            text = input("> " if sys.stdin.isatty() else "").strip()
        except (EOFError, KeyboardInterrupt):
            terminal.err().print()
            return
        if text == "/exit":
            return
        if text:
            yield text
