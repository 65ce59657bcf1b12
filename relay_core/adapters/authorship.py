"""The author of each character of an answer, and the answer's pieces (text, tool calls), each by one author.

Both plugins read answers through this module, and turn the pieces into the messages of their frameworks.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from relay_core.tool_call import ToolCallDelta
from relay_core.tool_parser import AnswerPiece, Content, ToolCallParser
from relay_core.tools import Offer
from relay_core.transcript import Author


class AuthorSpans:
    """Runs of characters by one author, in order.

    Args:
        begin: the number of leading characters that no author wrote (a forced prefix). :meth:`author` attributes them
            to the first author; :meth:`as_dicts` leaves them out.

    Example:
        >>> spans = AuthorSpans()
        >>> spans.add(Author.STUDENT, 9), spans.add(Author.TEACHER, 3)
        (0, 9)
        >>> [(str(author), text) for author, text in spans.cut(7, "= 282")]
        [('student', '= '), ('teacher', '282')]
    """

    def __init__(self, begin: int = 0) -> None:
        self._begin = begin
        self._ends: list[int] = []
        self._authors: list[Author] = []

    def add(self, author: Author, length: int) -> int:
        """Append ``length`` characters by ``author``; returns the offset of the first one."""
        start = self._ends[-1] if self._ends else self._begin
        if self._authors and self._authors[-1] is author:
            self._ends[-1] = start + length
        else:
            self._ends.append(start + length)
            self._authors.append(author)
        return start

    @property
    def last(self) -> Author:
        """The author of the last run; the student if there is no run."""
        return self._authors[-1] if self._authors else Author.STUDENT

    def author(self, offset: int) -> Author:
        """The author of the character at ``offset``; the author of the last run if ``offset`` is beyond the end."""
        run = bisect_right(self._ends, offset)
        return self._authors[run] if run < len(self._authors) else self.last

    def cut(self, start: int, text: str) -> list[tuple[Author, str]]:
        """Split ``text``, which begins at offset ``start``, at each change of author."""
        parts: list[tuple[Author, str]] = []
        offset = start
        while text:
            run = bisect_right(self._ends, offset)
            part = text if run >= len(self._ends) - 1 else text[: self._ends[run] - offset]
            parts.append((self.author(offset), part))
            offset, text = offset + len(part), text[len(part) :]
        return parts

    def as_dicts(self) -> list[dict[str, Any]]:
        """``author``, ``start`` and ``end`` of every run, for :func:`~relay_core.adapters.answer_report.report`."""
        starts = [self._begin, *self._ends]
        return [
            {"author": str(author), "start": start, "end": end}
            for author, start, end in zip(self._authors, starts, self._ends, strict=False)
        ]


class AnswerPieces:
    """Splits a stream of text by several authors into pieces, each by one author.

    Args:
        offered: the tools on offer; if there are none, all text is content.
        opening: text that the answer was forced to begin with, and that is part of the answer.

    A piece's ``start`` is an offset in :attr:`full_text`; ``spans`` holds the authors of :attr:`full_text`.
    """

    def __init__(self, offered: Offer, opening: str = "") -> None:
        beginning = offered.prefix or opening
        self.spans = AuthorSpans(len(beginning))
        self._texts = [beginning]
        names = [tool["function"]["name"] for tool in offered.tools]
        self._parser = ToolCallParser(tool_names=names) if names else None
        if self._parser is not None and offered.prefix:
            self._parser.feed(offered.prefix)  # returns no pieces, because a prefix is too short

    @property
    def full_text(self) -> str:
        """The answer so far, with its forced beginning, and with tool calls as text."""
        return "".join(self._texts)

    def feed(self, author: Author, text: str) -> list[tuple[Author, AnswerPiece]]:
        """Append text by ``author``; returns the pieces that are complete now."""
        start = self.spans.add(author, len(text))
        self._texts.append(text)
        if self._parser is None:
            return [(author, Content(text, start))]
        return list(self._by_author(self._parser.feed(text)))

    def flush(self) -> list[tuple[Author, AnswerPiece]]:
        """End the answer; returns the pieces of the text that was held back."""
        return [] if self._parser is None else list(self._by_author(self._parser.flush()))

    def _by_author(self, pieces: Sequence[AnswerPiece]) -> Iterator[tuple[Author, AnswerPiece]]:
        for piece in pieces:
            if isinstance(piece, Content):
                offset = piece.start
                for author, text in self.spans.cut(offset, piece.text):
                    yield author, Content(text, offset)
                    offset += len(text)
            elif isinstance(piece, ToolCallDelta) and piece.arguments:
                offset = piece.start
                for author, text in self.spans.cut(offset, piece.arguments):
                    yield author, replace(piece, arguments=text, start=offset)
                    offset += len(text)
            else:
                yield self.spans.author(piece.start), piece
