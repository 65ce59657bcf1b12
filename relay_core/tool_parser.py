"""Tool calls that a model wrote, parsed out of its answer: whole (:func:`parse_answer`) or as a stream.

The parser needs the whole answer. A prefix with which the answer was made to begin (``tools.Offer.prefix``) is not part
of ``result.text``, so it goes first:

    parsed = parse_answer(offered.prefix + result.text)        # .content, .tool_calls, .invalid_tool_calls

A tool call ends at the first closing tag, even inside a string.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from relay_core.tool_call import InvalidToolCall, OpenToolCall, ToolCall, ToolCallDelta
from relay_core.tools import TOOL_CALL_CLOSE, TOOL_CALL_OPEN, tool_call_ids

_TAGS = re.compile(f"{TOOL_CALL_OPEN}|{TOOL_CALL_CLOSE}")


@dataclass(frozen=True, slots=True)
class Content:
    """Text for the reader. ``start``: its offset in the parsed text."""

    text: str
    start: int


AnswerPiece = Content | ToolCallDelta | ToolCall | InvalidToolCall


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """A whole answer: its text without the tool calls, and the tool calls."""

    content: str
    tool_calls: list[ToolCall] = field(default_factory=list)
    invalid_tool_calls: list[InvalidToolCall] = field(default_factory=list)


def parse_answer(text: str, new_id: Callable[[int], str] | None = None) -> ParsedAnswer:
    """Parse a whole answer; ``new_id`` as in :class:`ToolCallParser`."""
    parser = ToolCallParser(new_id)
    pieces = parser.feed(text) + parser.flush()
    return ParsedAnswer(
        "".join(piece.text for piece in pieces if isinstance(piece, Content)),
        [piece for piece in pieces if isinstance(piece, ToolCall)],
        [piece for piece in pieces if isinstance(piece, InvalidToolCall)],
    )


class ToolCallParser:
    """Splits a stream of text into content and tool calls.

    The pieces, joined, do not depend on how the stream is cut. Text without a tool call comes out unchanged. Space
    between a tool call and its neighbours is not content.

    Args:
        new_id: from a tool call's index (from 0) to its id; by default unique ones,
            :func:`~relay_core.tools.tool_call_ids`.

    Example:
        >>> parser = ToolCallParser()
        >>> [p.text for p in parser.feed("Let me look. <tool") if isinstance(p, Content)]
        ['Let me look.']
        >>> [p.name for p in parser.feed('_call>{"name": "now", "arguments": {') if isinstance(p, ToolCallDelta)]
        ['now', None]
        >>> [p.arguments for p in parser.feed("}}</tool_call>") if isinstance(p, ToolCall)]
        [{}]
    """

    def __init__(self, new_id: Callable[[int], str] | None = None) -> None:
        self._new_id = new_id or tool_call_ids()
        self._text = ""
        self._parsed_to = 0  # pieces were given up to this offset; while a tool call is open, its tag's offset
        self._open: OpenToolCall | None = None
        self._next_index = 0
        self._has_content = False
        self._after_tool_call = False  # only space has come since the last tool call

    def feed(self, text: str) -> list[AnswerPiece]:
        """Parse the next part of the stream; returns the pieces that are certain now, in order."""
        self._text += text
        pieces: list[AnswerPiece] = []
        while True:
            tag = _TAGS.search(self._text, self._parsed_to if self._open is None else self._open.body_start)
            end = tag.start() if tag else len(self._text) - _partial_tag(self._text)
            if self._open is not None:
                pieces += self._open.read(self._text, end)
                if tag is None:
                    return pieces
                pieces += self._end_tool_call(end, closed=tag[0] == TOOL_CALL_CLOSE)
                self._parsed_to = tag.end() if tag[0] == TOOL_CALL_CLOSE else end
            elif tag is None:
                return pieces + self._content(end)
            elif tag[0] == TOOL_CALL_CLOSE:  # no tool call is open: the closing tag is text
                pieces += self._content(tag.end())
            else:
                pieces += self._content(end)
                self._parsed_to = end
                self._open = OpenToolCall(self._next_index, self._new_id(self._next_index), end)
                self._next_index += 1

    def flush(self) -> list[AnswerPiece]:
        """End the stream: text that was held back is content, and an open tool call is whole or invalid."""
        if self._open is not None:
            deltas = self._open.read(self._text, len(self._text))
            return [*deltas, *self._end_tool_call(len(self._text), closed=False)]
        pieces = self._content(len(self._text))
        if self._parsed_to < len(self._text) and not self._after_tool_call:
            pieces.append(Content(self._text[self._parsed_to :], self._parsed_to))
        self._parsed_to = len(self._text)
        return pieces

    def _content(self, end: int) -> list[AnswerPiece]:
        """The content up to ``end``, without trailing space: that is content only if more content follows."""
        text = self._text[self._parsed_to : end]
        kept = len(text.rstrip())
        if not kept:
            return []
        skipped = len(text) - len(text.lstrip()) if self._after_tool_call and not self._has_content else 0
        content = Content(text[skipped:kept], self._parsed_to + skipped)
        self._parsed_to += kept
        self._has_content, self._after_tool_call = True, False
        return [content]

    def _end_tool_call(self, end: int, *, closed: bool) -> list[ToolCallDelta | ToolCall | InvalidToolCall]:
        assert self._open is not None
        source = self._text[self._parsed_to : end] + (TOOL_CALL_CLOSE if closed else "")
        pieces = self._open.finish(self._text, end, source=source)
        self._open, self._after_tool_call, self._parsed_to = None, True, end
        return pieces


def _partial_tag(text: str) -> int:
    """The number of characters at the end of ``text`` that may become a tag."""
    start = text.rfind("<", max(0, len(text) - len(TOOL_CALL_CLOSE) + 1))
    if start >= 0 and (TOOL_CALL_OPEN.startswith(text[start:]) or TOOL_CALL_CLOSE.startswith(text[start:])):
        return len(text) - start
    return 0
