"""Who wrote what of an answer: spans of its text, and its pieces, tool calls among them, each by one author.

Both plugins read answers through this; how their frameworks' messages say it is theirs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from relay_core.tools import CallDelta, Content, Offer, Piece, ToolCallParser, call_ids
from relay_core.transcript import Author


class Spans:
    """Runs of characters by one author, in the order in which they were written.

    Args:
        begin: characters in front that nobody wrote; asked for, they count as the first author's.

    Example:
        >>> spans = Spans()
        >>> spans.add(Author.STUDENT, 9), spans.add(Author.TEACHER, 3)
        (0, 9)
        >>> [(str(author), text) for author, text in spans.cut(7, "= 282")]
        [('student', '= '), ('teacher', '282')]
    """

    def __init__(self, begin: int = 0) -> None:
        self.length = begin  # characters
        self._begin = begin
        self._ends: list[int] = []
        self._authors: list[Author] = []

    def add(self, author: Author, characters: int) -> int:
        """``author`` wrote so many more; returns where they begin."""
        start = self.length
        self.length += characters
        if self._authors and self._authors[-1] is author:
            self._ends[-1] = self.length
        else:
            self._ends.append(self.length)
            self._authors.append(author)
        return start

    @property
    def last(self) -> Author:
        """Who wrote last; the student, before anybody wrote."""
        return self._authors[-1] if self._authors else Author.STUDENT

    def author(self, at: int) -> Author:
        """Who wrote the character at ``at``; behind the end, who wrote last."""
        run = bisect_right(self._ends, at)
        return self._authors[run] if run < len(self._authors) else self.last

    def cut(self, start: int, text: str) -> list[tuple[Author, str]]:
        """``text``, which stands at ``start``, cut where its author changes."""
        parts: list[tuple[Author, str]] = []
        at = start
        while text:
            run = bisect_right(self._ends, at)
            part = text if run >= len(self._ends) - 1 else text[: self._ends[run] - at]
            parts.append((self.author(at), part))
            at, text = at + len(part), text[len(part) :]
        return parts

    def list(self) -> list[dict[str, Any]]:
        """``author``, ``start`` and ``end`` of each, for :func:`~relay_core.adapters.answer_report.report`."""
        starts = [self._begin, *self._ends]
        return [
            {"author": str(author), "start": start, "end": end}
            for author, start, end in zip(self._authors, starts, self._ends, strict=False)
        ]


class Pieces:
    """An answer as it comes: text by its authors in, pieces out, each by one author.

    Args:
        messages: the conversation, from which the ids of tool calls follow.
        offered: the tools on offer; without any, all is content.
        opening: text with which the answer was made to begin, and which belongs to it.

    ``spans`` say who wrote what of :attr:`written`; pieces' ``start`` is a place in it.
    """

    def __init__(self, messages: Sequence[Mapping[str, Any]], offered: Offer, opening: str = "") -> None:
        beginning = offered.prefix or opening
        self.spans = Spans(len(beginning))
        self._written = [beginning]
        self._parser = ToolCallParser(call_ids(list(messages))) if offered.tools else None
        if self._parser is not None and offered.prefix:
            self._parser.feed(offered.prefix)  # too short to decide anything

    @property
    def written(self) -> str:
        """All of the answer, as it was made to begin and went on, tool calls as text."""
        return "".join(self._written)

    def take(self, author: Author, text: str) -> list[tuple[Author, Piece]]:
        """The pieces that this text decides."""
        start = self.spans.add(author, len(text))
        self._written.append(text)
        if self._parser is None:
            return [(author, Content(text, start))]
        return list(self._by_author(self._parser.feed(text)))

    def flush(self) -> list[tuple[Author, Piece]]:
        """The end of the answer: what was held back."""
        return [] if self._parser is None else list(self._by_author(self._parser.flush()))

    def _by_author(self, pieces: Sequence[Piece]) -> Iterator[tuple[Author, Piece]]:
        for piece in pieces:
            if isinstance(piece, Content):
                at = piece.start
                for author, text in self.spans.cut(at, piece.text):
                    yield author, Content(text, at)
                    at += len(text)
            elif isinstance(piece, CallDelta) and piece.arguments:
                at = piece.start
                for author, text in self.spans.cut(at, piece.arguments):
                    yield author, replace(piece, arguments=text, start=at)
                    at += len(text)
            else:
                yield self.spans.author(piece.start), piece
