"""The grammar of the command ``<call>n</call>``: writing it, and finding it in a stream of text.

    command := "<call>" body "</call>"       body: at most 32 characters
    body    := ws digits ws                  1 to 9 ASCII digits; any other body is malformed

A ``<call>`` that is not closed within these 32 characters is ordinary text. The scanner sees text only; the transcript
records which token carried which character.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

OPEN = "<call>"
CLOSE = "</call>"
MAX_BODY_CHARS = 32

_COUNT = re.compile(r"\s*([0-9]{1,9})\s*", re.ASCII)
_WINDOW = len(OPEN) + MAX_BODY_CHARS + len(CLOSE)


@dataclass(frozen=True, slots=True)
class Text:
    """Ordinary text, safe to show."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A well-formed command for ``n`` teacher tokens; ``source`` is the text it was written as."""

    n: int
    source: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """A closed command without a usable number; ``source`` is the text it was written as."""

    source: str


Piece = Text | Call | Malformed


def write(n: int) -> str:
    """The command that asks for ``n`` teacher tokens; the inverse of the scanner's ``Call(n, …)``."""
    if not 0 <= n <= 999_999_999:
        raise ValueError(f"a command asks for 0 to 999999999 tokens, not {n}")
    return f"{OPEN}{n}{CLOSE}"


def parse(source: str) -> Call | Malformed:
    """Read one whole command, tags included."""
    count = _COUNT.fullmatch(source, len(OPEN), len(source) - len(CLOSE))
    return Call(int(count[1]), source) if count else Malformed(source)


class CommandScanner:
    """Finds commands in text that arrives in pieces.

    Text that may yet become a command is held back until it is one or cannot become one. The result does not depend on
    where the stream is cut, except that ordinary text may come as several adjacent ``Text`` pieces.

        scanner = CommandScanner()
        scanner.feed("so 47 * 6 = <ca")      # [Text("so 47 * 6 = ")]
        scanner.feed("ll>3</call>")          # [Call(3, "<call>3</call>")]
        scanner.flush()                      # []
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = ""

    @property
    def held(self) -> str:
        """Text held back because it may yet become a command."""
        return self._held

    @property
    def is_open(self) -> bool:
        """Whether a ``<call>`` has come that may still be closed."""
        return self._held.startswith(OPEN)

    def feed(self, text: str) -> list[Piece]:
        """Take the next piece of the stream; return the pieces that are now decided, in order."""
        if not self._held and "<" not in text:
            return [Text(text)] if text else []
        text = self._held + text
        pieces: list[Piece] = []
        shown = 0  # text[shown:start] is ordinary text not yet emitted
        start = 0
        while True:
            start = text.find("<", start)
            if start < 0:
                start = len(text)
                break
            if not text.startswith(OPEN, start):
                if OPEN.startswith(text[start:]):
                    break  # a beginning of the tag, at the end of what came
                start += 1
                continue
            close = text.find(CLOSE, start + len(OPEN), start + _WINDOW)
            if close >= 0:
                if start > shown:
                    pieces.append(Text(text[shown:start]))
                shown = close + len(CLOSE)
                pieces.append(parse(text[start:shown]))
                start = shown
            elif len(text) - start >= _WINDOW:
                start += 1  # can no longer be closed in time: ordinary text
            else:
                break
        if start > shown:
            pieces.append(Text(text[shown:start]))
        self._held = text[start:]
        return pieces

    def flush(self) -> list[Piece]:
        """End the stream: text that was held back is ordinary text."""
        held, self._held = self._held, ""
        return [Text(held)] if held else []
