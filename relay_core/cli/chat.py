"""``relay chat``: a conversation with its history. An interrupt (Ctrl-C) ends the current answer, not the
conversation."""

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
from relay_core.relay import Relay
from relay_core.usage import Usage

HELP = "/exit ends the chat, /new starts a new conversation, /help shows this line; Ctrl-C cuts an answer short"


@with_options
def chat(
    options: Options,
    system: Annotated[str | None, typer.Option(help="A system message.", show_default=False)] = None,
) -> None:
    """Chat with the models, which read the whole conversation. With --json, read one message per line from stdin."""
    with options.relay() as relay:
        history = ChatHistory(system)
        if options.json:
            _answer_lines(relay, history)
        else:
            _answer_interactively(relay, history)


class ChatHistory:
    """The messages of a conversation, without turns that failed or were cut short."""

    def __init__(self, system: str | None = None) -> None:
        self._system: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
        self._messages = list(self._system)

    def prompt(self, question: str) -> list[dict[str, Any]]:
        """The messages so far, and ``question``."""
        return [*self._messages, {"role": "user", "content": question}]

    def add_turn(self, question: str, answer: str) -> None:
        """Add a question and its answer."""
        self._messages = [*self.prompt(question), {"role": "assistant", "content": answer}]

    def clear(self) -> None:
        """Remove every message but the system message."""
        self._messages = list(self._system)


def _answer_lines(relay: Relay, history: ChatHistory) -> None:
    """Answer every line of stdin, then print all turns as one JSON object."""
    turns: list[dict[str, Any]] = []
    usages: list[Usage] = []
    for line in sys.stdin:
        question = line.rstrip("\n")
        if question.strip() == "/exit":
            break
        if not question.strip():
            continue
        result = relay.generate(history.prompt(question))
        history.add_turn(question, result.text)
        turns.append({"question": question, **result.as_dict()})
        usages.append(result.usage)
    terminal.print_json({"turns": turns, "usage": Usage.total(usages).as_dict()})


def _answer_interactively(relay: Relay, history: ChatHistory) -> None:
    err = terminal.err()
    err.print(HELP, style="dim", soft_wrap=True)
    legend = True  # shown with the first answer only
    for text in _typed_lines():
        if text == "/new":
            history.clear()
            continue
        if text.startswith("/"):
            err.print(HELP, style="dim", soft_wrap=True)
            continue
        try:
            result = show(relay.stream(history.prompt(text)), legend=legend)
        except KeyboardInterrupt:
            err.print("\n(cut short; not kept)", style="dim")
        except RelayError as error:
            terminal.print_error(str(error), kind=type(error).__name__, as_json=False)
        else:
            history.add_turn(text, result.text)
            legend = False


def _typed_lines() -> Iterator[str]:
    """The user's lines, stripped and without empty lines, until /exit, the end of input or an interrupt."""
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
