"""The grammar of the command ``<call>n</call>``: writing it, and finding it in a stream of text.

    command := "<call>" body "</call>"       body: at most 32 characters
    body    := ws digits ws                  1 to 9 ASCII digits; any other body is malformed

These are malformed too, so that no reader sees a piece of a command:

    </call>               where it closes nothing
    <call>8</>            a number behind which another closing tag stands
    </call><call>         a tag directly behind a command, where it opens nothing
    <call>8 (the end)     a command that the end of the text cuts off

Any other ``<call>`` that is not closed within 32 characters is ordinary text. The scanner sees text only; the
transcript records which token carried which character.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

OPEN = "<call>"
CLOSE = "</call>"
MAX_BODY_CHARS = 32

_COUNT = re.compile(r"\s*([0-9]{1,9})\s*", re.ASCII)
_WINDOW = len(OPEN) + MAX_BODY_CHARS + len(CLOSE)
_NUMBER = OPEN + rf"[\s0-9.,+-]{{0,{MAX_BODY_CHARS}}}"
_WRONGLY_CLOSED = re.compile(_NUMBER + r"</[a-z]{0,4}>?", re.ASCII)  # never longer than the window
_CUT_OFF = re.compile(_NUMBER + "(?:<(?:/(?:c(?:a(?:l(?:l)?)?)?)?)?)?", re.ASCII)


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
    """A command without a usable number, or a piece of one; ``source`` is the text it was written as."""

    source: str


Piece = Text | Call | Malformed


def write(n: int) -> str:
    """The command that asks for ``n`` teacher tokens; the inverse of the scanner's ``Call(n, …)``."""
    if not 0 <= n <= 999_999_999:
        raise ValueError(f"a command asks for 0 to 999999999 tokens, not {n}")
    return f"{OPEN}{n}{CLOSE}"


def parse(source: str) -> Call | Malformed:
    """Read one whole command, tags included; anything else is malformed."""
    if not (source.startswith(OPEN) and source.endswith(CLOSE)):
        return Malformed(source)
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

    __slots__ = ("_behind_command", "_held")

    def __init__(self) -> None:
        self._held = ""
        self._behind_command = False  # what is held follows directly on a command

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
            self._behind_command &= not text
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
            self._behind_command &= start == shown
            end = _end_of_command(text, start, behind_command=self._behind_command)
            if end is None:
                break  # undecided
            if end == start:
                start += 1
                continue
            if start > shown:
                pieces.append(Text(text[shown:start]))
            pieces.append(parse(text[start:end]))
            shown = start = end
            self._behind_command = True
        if start > shown:
            pieces.append(Text(text[shown:start]))
            self._behind_command = False
        self._held = text[start:]
        return pieces

    def flush(self, *, cut_off: bool = False) -> list[Piece]:
        """End the stream: what was held back is a command cut off, or ordinary text.

        Args:
            cut_off: the text did not end by itself; then the beginning of an opening tag (``<ca``) is a command cut
                off too.
        """
        pieces: list[Piece] = []
        while held := self._held:
            self._held = ""
            if _CUT_OFF.fullmatch(held) or (cut_off and len(held) > 1 and OPEN.startswith(held)):
                pieces.append(Malformed(held))
                self._behind_command = True
                break
            wrong = _WRONGLY_CLOSED.match(held)
            end = wrong.end() if wrong else len(OPEN) if self._behind_command and held.startswith(OPEN) else 1
            pieces.append(Text(held[:end]) if end == 1 else Malformed(held[:end]))
            self._behind_command = end > 1
            pieces += self.feed(held[end:])
        return _joined(pieces)


def _end_of_command(text: str, start: int, *, behind_command: bool) -> int | None:
    """Where the command, or the piece of one, ends that begins at ``start``, where a ``<`` stands.

    ``start`` itself means that none begins there; ``None``, that more text is needed to tell.
    """
    if text.startswith(CLOSE, start):
        return start + len(CLOSE)
    if not text.startswith(OPEN, start):
        rest = text[start : start + len(CLOSE)]
        return None if OPEN.startswith(rest) or CLOSE.startswith(rest) else start
    close = text.find(CLOSE, start + len(OPEN), start + _WINDOW)
    if close >= 0:
        return close + len(CLOSE)
    if len(text) - start < _WINDOW:
        return None
    wrong = _WRONGLY_CLOSED.match(text, start)
    return wrong.end() if wrong else start + len(OPEN) if behind_command else start


def _joined(pieces: list[Piece]) -> list[Piece]:
    """``pieces`` with adjacent text joined."""
    joined: list[Piece] = []
    for piece in pieces:
        if joined and isinstance(piece, Text) and isinstance(joined[-1], Text):
            joined[-1] = Text(joined[-1].text + piece.text)
        else:
            joined.append(piece)
    return joined
