"""An independent implementation of the command's grammar, as a regular expression, with which tests compare the
scanner."""

from __future__ import annotations

import re
from collections.abc import Iterator

#: what no reader may see of a student's text: a command; a closing tag that closes nothing; a number that another tag
#: closes; a command that the end of the text cuts off
_HIDDEN = re.compile(
    r"<call>(?:(?!</call>).){0,32}</call>|</call>"
    r"|<call>[ \n0-9.,+-]{0,32}(?:(?:<|</|</c|</ca|</cal|</call)?\Z|</[a-z]{0,4}>?)",
    re.DOTALL,
)
_TAG = re.compile("<call>")


def pieces(text: str, *, behind_command: bool = False) -> Iterator[tuple[bool, str]]:
    """``text`` in pieces: (whether it is hidden, the piece); ordinary text comes character by character.

    ``behind_command``: whether a command comes directly before ``text`` in the student's stream.
    """
    at = 0
    while at < len(text):
        hidden = _HIDDEN.match(text, at) or (_TAG.match(text, at) if behind_command else None)
        behind_command = hidden is not None
        piece = hidden[0] if hidden else text[at]
        yield behind_command, piece
        at += len(piece)


def hidden(text: str) -> list[str]:
    """The pieces of ``text`` that the reader must not see."""
    return [piece for is_hidden, piece in pieces(text) if is_hidden]


def visible(text: str, *, behind_command: bool = False) -> str:
    """The part of ``text`` that the reader may see; ``behind_command`` as for :func:`pieces`."""
    return "".join(piece for is_hidden, piece in pieces(text, behind_command=behind_command) if not is_hidden)


def ends_in_command(text: str, *, behind_command: bool = False) -> bool:
    """Whether ``text`` ends with a command or a part of one; ``behind_command`` as for :func:`pieces`."""
    for is_hidden, _ in pieces(text, behind_command=behind_command):
        behind_command = is_hidden
    return behind_command
