"""Parses the tool calls in a model's answer, from a whole answer (:func:`parse_answer`) or from a stream.

The parser needs the answer from its beginning. A forced prefix (``tools.Offer.prefix``) is not part of ``result.text``,
so it must be added:

    parsed = parse_answer(offered.prefix + result.text)        # .content, .tool_calls, .invalid_tool_calls

A tool call is the first complete JSON value after its opening tag, even if its strings contain tags. If its closing tag
is missing, the text after the JSON value is ordinary text. If the JSON value is never completed, the tool call ends at
the first tag after its opening tag. The text between the tags may also be a list of tool calls, and may be inside a
fence.

Some models omit the tags. If the parser is given the names of the tools on offer, an answer that begins with the JSON
of a tool call of one of them is that tool call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass, field

from relay_core.tool_call import (
    MAY_BECOME_BARE,
    TAG,
    InvalidToolCall,
    OpenToolCall,
    Progress,
    ToolCall,
    ToolCallDelta,
    bare_name,
    may_become_tag,
)
from relay_core.tools import TOOL_CALL_CLOSE, TOOL_CALL_OPEN, tool_call_ids

_FENCE = "```"
_HEAD_WITHOUT_NAME = 100  # characters that a tool call without a tag may take up to its arguments, beside the name
_SPACES = re.compile(r"\s*")


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


def parse_answer(
    text: str, new_id: Callable[[int], str] | None = None, tool_names: Collection[str] = ()
) -> ParsedAnswer:
    """Parse a whole answer; ``new_id`` and ``tool_names`` as in :class:`ToolCallParser`."""
    parser = ToolCallParser(new_id, tool_names)
    pieces = parser.feed(text) + parser.flush()
    return ParsedAnswer(
        "".join(piece.text for piece in pieces if isinstance(piece, Content)),
        [piece for piece in pieces if isinstance(piece, ToolCall)],
        [piece for piece in pieces if isinstance(piece, InvalidToolCall)],
    )


class ToolCallParser:
    """Splits a stream of text into content and tool calls.

    The joined pieces do not depend on how the stream is cut, and the work is linear in its length. Text without a tool
    call is returned unchanged. White space between a tool call and its neighbours is not content.

    Args:
        new_id: returns the id of a tool call for its index (from 0); by default, the ids are unique
            (:func:`~relay_core.tools.tool_call_ids`).
        tool_names: the names of the tools that an answer may call without a tag.

    Example:
        >>> parser = ToolCallParser()
        >>> [p.text for p in parser.feed("Let me look. <tool") if isinstance(p, Content)]
        ['Let me look.']
        >>> [p.name for p in parser.feed('_call>{"name": "now", "arguments": {') if isinstance(p, ToolCallDelta)]
        ['now', None]
        >>> [p.arguments for p in parser.feed("}}</tool_call>") if isinstance(p, ToolCall)]
        [{}]
    """

    def __init__(self, new_id: Callable[[int], str] | None = None, tool_names: Collection[str] = ()) -> None:
        self._new_id = new_id or tool_call_ids()
        # the names, until it is certain whether the answer begins with a tool call without a tag
        self._bare_names = frozenset(tool_names)
        self._longest_head = _HEAD_WITHOUT_NAME + max(map(len, tool_names), default=0)
        # reading is at _position of _text, which begins at offset _start of the parsed text; the next call of feed
        # drops the text that was read
        self._text, self._start, self._position = "", 0, 0
        self._open: OpenToolCall | None = None
        self._next_index = 0
        self._space: list[str] = []  # the latest white space, which is content only if more content follows
        self._space_start = 0
        self._has_content = False
        self._after_tool_call = False  # whether only white space has arrived since the last tool call
        self._is_unclosed = False  # whether the last tool call's closing tag may still arrive
        # the text before the last tool call, which determines what may follow in the same tag: a list continues with a
        # comma and a brace, and ends with a bracket; a doubled brace and a fence end
        self._lead, self._expected = "", ""

    def feed(self, text: str) -> list[AnswerPiece]:
        """Parse the next part of the stream; returns the pieces that are certain now, in order."""
        self._text = self._text[self._position :] + text
        self._start, self._position = self._start + self._position, 0
        return list(self._parse(is_last=False))

    def flush(self) -> list[AnswerPiece]:
        """End the stream: text that was held back is content, and a tool call that is not complete is invalid."""
        pieces = list(self._parse(is_last=True))
        if self._space and not self._after_tool_call:
            pieces.append(Content("".join(self._space), self._space_start))
        self._space = []
        return pieces

    def _parse(self, *, is_last: bool) -> Iterator[AnswerPiece]:
        goes_on = True
        while goes_on:
            if self._bare_names:
                goes_on = yield from self._read_beginning(is_last=is_last)
            elif self._open is None and self._expected:
                goes_on = yield from self._read_within_tag(is_last=is_last)
            elif self._open is None:
                goes_on = yield from self._read_content(is_last=is_last)
            else:
                goes_on = yield from self._read_tool_call(self._open, is_last=is_last)

    def _next_tag(self, *, is_last: bool) -> tuple[int, str]:
        """The position of the next tag, and the tag; without a tag, the position up to which there is none, and ""."""
        tag = TAG.search(self._text, self._position)
        if tag is not None:
            return tag.start(), tag[0]
        end = len(self._text)
        begin = self._text.rfind("<", max(self._position, end - len(TOOL_CALL_CLOSE)))
        return (begin if begin >= 0 and not is_last and may_become_tag(self._text, begin) else end), ""

    def _read_content(self, *, is_last: bool) -> Generator[AnswerPiece, None, bool]:
        """Read up to the next tag; returns whether there was one."""
        begin, (end, tag) = self._position, self._next_tag(is_last=is_last)
        self._position = end + len(tag)
        if tag == TOOL_CALL_CLOSE and not self._is_unclosed:  # it closes nothing: it is text
            end = self._position
        yield from self._content(self._text[begin:end], self._start + begin)
        if tag == TOOL_CALL_OPEN:
            self._begin_tool_call(self._start + end, tag)
        elif tag and self._is_unclosed:
            self._tool_call_ended(is_unclosed=False)
        return bool(tag)

    def _begin_tool_call(self, start: int, tag: str) -> None:
        """Open a tool call whose ``tag`` begins at offset ``start``; within a list, the tag is empty."""
        self._space = []
        self._open = OpenToolCall(self._next_index, self._new_id(self._next_index), start, tag)
        self._next_index += 1

    def _read_spaces(self) -> Iterator[AnswerPiece]:
        spaces = _SPACES.match(self._text, self._position)
        begin, self._position = self._position, len(self._text) if spaces is None else spaces.end()
        yield from self._content(self._text[begin : self._position], self._start + begin)

    def _read_beginning(self, *, is_last: bool) -> Generator[AnswerPiece, None, bool]:
        """Find out whether the answer begins with a tool call without a tag; returns whether that is certain."""
        yield from self._read_spaces()
        text = self._text[self._position : self._position + self._longest_head]
        if not text:
            return False
        if bare_name(text) in self._bare_names:
            self._begin_tool_call(self._start + self._position, "")
        elif not is_last and len(text) < self._longest_head and MAY_BECOME_BARE.fullmatch(text):
            return False
        self._bare_names = frozenset()
        return True

    def _read_within_tag(self, *, is_last: bool) -> Generator[AnswerPiece, None, bool]:
        """Read what may follow a tool call before its closing tag; returns whether there was text to read."""
        yield from self._read_spaces()
        rest = self._text[self._position : self._position + len(_FENCE)]
        if not rest or (rest != _FENCE and _FENCE.startswith(rest) and self._expected == _FENCE and not is_last):
            return False
        expected, self._expected = self._expected, ""
        if expected == _FENCE:
            self._position += len(_FENCE) if rest == _FENCE else 0
        elif rest[0] not in expected:
            return True
        elif rest[0] == "{":
            self._begin_tool_call(self._start + self._position, "")
        else:
            self._position += 1
            self._expected = "{" if rest[0] == "," else _FENCE if _FENCE in self._lead else ""
        return True

    def _read_tool_call(self, call: OpenToolCall, *, is_last: bool) -> Generator[AnswerPiece, None, bool]:
        """Continue to read the open tool call; returns whether it ended before the text did."""
        if call.progress is Progress.INCOMPLETE:
            yield from call.read(self._text, self._position, is_last=is_last)
            self._position = call.offset - self._start
            if call.progress is Progress.INCOMPLETE and not is_last:
                return False
        if call.progress is Progress.COMPLETE and (pieces := call.whole()):
            yield from pieces
            self._tool_call_ended(is_unclosed=True)
            self._lead = call.lead or self._lead  # a further tool call of a list has no lead of its own
            within = "}" if "{" in self._lead else ",]" if "[" in self._lead else ""
            self._expected = within or (_FENCE if _FENCE in self._lead else "")
            return True
        if call.tag_in_string is not None:  # the tool call ended there, inside a string
            offset, tag = call.tag_in_string
            self._go_back(call, offset)
        else:
            end, tag = self._next_tag(is_last=is_last)
            call.skip(self._text[self._position : end])
            self._position = end
            if not tag and not is_last:
                return False
            offset = self._start + end
        closing_tag = tag if tag == TOOL_CALL_CLOSE else ""
        if pieces := call.in_python(offset):
            yield from pieces
        else:
            yield call.invalid(offset, closing_tag)
        self._position += len(closing_tag)
        self._tool_call_ended(is_unclosed=False)
        return bool(tag)

    def _go_back(self, call: OpenToolCall, offset: int) -> None:
        """Continue reading at ``offset``, which is inside the body of ``call``."""
        if offset < self._start:
            read_again = call.body(call.offset)[offset - call.body_start :]
            self._text, self._start = read_again + self._text[self._position :], offset
        self._position = offset - self._start

    def _tool_call_ended(self, *, is_unclosed: bool) -> None:
        self._open, self._space = None, []
        self._after_tool_call, self._is_unclosed = True, is_unclosed

    def _content(self, text: str, start: int) -> Iterator[Content]:
        """The content that is certain with ``text``: trailing space is content only if more content follows."""
        kept = len(text.rstrip())
        if kept:
            content = "".join(self._space) + text[:kept]
            content_start = self._space_start if self._space else start
            if self._after_tool_call and not self._has_content:
                content_start += len(content) - len(content.lstrip())
                content = content.lstrip()
            yield Content(content, content_start)
            self._space, self._has_content, self._after_tool_call = [], True, False
        if kept < len(text):
            self._space_start = self._space_start if self._space else start + kept
            self._space.append(text[kept:])
