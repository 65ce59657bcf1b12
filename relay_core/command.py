"""The grammar of the command ``<call>n</call>``: writing it, and finding it in a stream of text.

    command := "<call>" body "</call>"       the body has at most 32 characters
    body    := space* digit{1,9} space*      ASCII white space and digits; a command with another body is malformed

The following texts also count as malformed commands, so that the reader never sees a part of a command:

    </call>               a closing tag without an opening tag
    <call>8</>            a number followed by some other closing tag
    </call><call>         an unclosed <call> directly after a command
    <call>8 (the end)     a command that the end of the text cuts off

Any other ``<call>`` that is not closed within 32 characters is ordinary text. The scanner sees only text; the
transcript records which token contains which character.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

OPEN = "<call>"
CLOSE = "</call>"
MAX_BODY_CHARS = 32

_MAX_COMMAND_CHARS = len(OPEN) + MAX_BODY_CHARS + len(CLOSE)
#: a well-formed body, such as " 12 "
_COUNT = re.compile(r"\s*([0-9]{1,9})\s*", re.ASCII)
#: an opening tag and the beginning of a number, good or bad: "<call>", "<call>8", "<call> -3.5 "
_NUMBER_LIKE = OPEN + rf"[\s0-9.,+-]{{0,{MAX_BODY_CHARS}}}"
#: a number with some other closing tag: "<call>8</>", "<call>8</cal>"; at most as long as the longest command
_WRONGLY_CLOSED = re.compile(_NUMBER_LIKE + r"</[a-z]{0,4}>?", re.ASCII)
#: a command that ends early: "<call>", "<call>8", "<call>8</ca"
_CUT_OFF = re.compile(_NUMBER_LIKE + "(?:<(?:/(?:c(?:a(?:l(?:l)?)?)?)?)?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Text:
    """Ordinary text, safe to show."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A well-formed command for ``n`` teacher tokens; ``source`` is the text of the command."""

    n: int
    source: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """A command without a valid number, or a part of a command; ``source`` is its text."""

    source: str


Piece = Text | Call | Malformed


def write(n: int) -> str:
    """The command that asks for ``n`` teacher tokens; the inverse of the scanner's ``Call(n, …)``."""
    if not 0 <= n <= 999_999_999:
        raise ValueError(f"a command asks for 0 to 999999999 tokens, not {n}")
    return f"{OPEN}{n}{CLOSE}"


def parse(source: str) -> Call | Malformed:
    """Read one whole command, tags included; any other text is ``Malformed``."""
    if not (source.startswith(OPEN) and source.endswith(CLOSE)):
        return Malformed(source)
    count = _COUNT.fullmatch(source, len(OPEN), len(source) - len(CLOSE))
    return Call(int(count[1]), source) if count else Malformed(source)


class CommandScanner:
    """Finds commands in text that arrives in pieces.

    Text that may still become a command is held back until the scanner can tell whether it is one. The pieces do not
    depend on how the stream is cut into chunks, except that ordinary text may be split into several adjacent ``Text``
    pieces.

        scanner = CommandScanner()
        scanner.feed("so 47 * 6 = <ca")      # [Text("so 47 * 6 = ")]
        scanner.feed("ll>3</call>")          # [Call(3, "<call>3</call>")]
        scanner.flush()                      # []
    """

    __slots__ = ("_follows_command", "_held")

    def __init__(self) -> None:
        self._held = ""
        self._follows_command = False  # whether the last emitted piece is a command, or a part of one

    @property
    def held(self) -> str:
        """The text that is held back because it may still become a command."""
        return self._held

    @property
    def is_open(self) -> bool:
        """Whether the held text begins with a ``<call>`` that may still be closed."""
        return self._held.startswith(OPEN)

    def feed(self, text: str) -> list[Piece]:
        """Take the next part of the stream; return the pieces that are now certain, in order."""
        if not self._held and "<" not in text:
            if not text:
                return []
            self._follows_command = False
            return [Text(text)]
        text = self._held + text
        pieces: list[Piece] = []
        emitted_to = 0  # text[emitted_to:start] is ordinary text that is not emitted yet
        start = 0
        while True:
            start = text.find("<", start)
            if start < 0:
                start = len(text)
                break
            if start > emitted_to:
                self._follows_command = False
            end = _end_of_command(text, start, follows_command=self._follows_command)
            if end is None:
                break  # undecided
            if end == start:
                start += 1
                continue
            if start > emitted_to:
                pieces.append(Text(text[emitted_to:start]))
            pieces.append(parse(text[start:end]))
            emitted_to = start = end
            self._follows_command = True
        if start > emitted_to:
            pieces.append(Text(text[emitted_to:start]))
            self._follows_command = False
        self._held = text[start:]
        return pieces

    def flush(self, *, cut_off: bool = False) -> list[Piece]:
        """End the stream; returns the text that was held back, as ordinary text or as a command that was cut off.

        Args:
            cut_off: whether a limit ended the text. The beginning of a tag (``<ca``, ``</ca``) then counts as a command
                that was cut off; otherwise it is ordinary text.
        """
        pieces: list[Piece] = []
        while held := self._held:
            self._held = ""
            if _CUT_OFF.fullmatch(held) or (
                cut_off and len(held) > 1 and (OPEN.startswith(held) or CLOSE.startswith(held))
            ):
                pieces.append(Malformed(held))
                self._follows_command = True
                break
            if wrong := _WRONGLY_CLOSED.match(held):
                end = wrong.end()
            elif self._follows_command and held.startswith(OPEN):
                end = len(OPEN)
            else:
                end = 1  # the "<" begins no command, so it is ordinary text; a command may still begin after it
            pieces.append(Text(held[:end]) if end == 1 else Malformed(held[:end]))
            self._follows_command = end > 1
            pieces += self.feed(held[end:])
        return _joined(pieces)


def _end_of_command(text: str, start: int, *, follows_command: bool) -> int | None:
    """Find the end of a command, or of a part of a command.

    Args:
        text: the stream so far.
        start: the index of a ``<`` in ``text``.
        follows_command: whether a command ends directly before ``start``.

    Returns:
        The index after the command; ``start`` if no command begins there; ``None`` if more text is needed to tell.
    """
    if text.startswith(CLOSE, start):
        return start + len(CLOSE)
    if not text.startswith(OPEN, start):
        rest = text[start : start + len(CLOSE)]
        return None if OPEN.startswith(rest) or CLOSE.startswith(rest) else start
    close = text.find(CLOSE, start + len(OPEN), start + _MAX_COMMAND_CHARS)
    if close >= 0:
        return close + len(CLOSE)
    if len(text) - start < _MAX_COMMAND_CHARS:
        return None
    if wrong := _WRONGLY_CLOSED.match(text, start):
        return wrong.end()
    return start + len(OPEN) if follows_command else start


def _joined(pieces: list[Piece]) -> list[Piece]:
    """``pieces`` with adjacent ``Text`` pieces joined."""
    joined: list[Piece] = []
    for piece in pieces:
        if joined and isinstance(piece, Text) and isinstance(joined[-1], Text):
            joined[-1] = Text(joined[-1].text + piece.text)
        else:
            joined.append(piece)
    return joined
