"""One tool call: the pieces that the parser gives of it, and the tool call while it is being written.

``tool_parser.py`` finds the tags in the stream; here the JSON between them is read.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from typing import Any

from relay_core.tools import TOOL_CALL_OPEN

_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)+")\s*,\s*"arguments"\s*:\s*')


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """The next part of tool call number ``index``.

    The first delta of a tool call has its ``name`` and no arguments. The later ones have no name, and their
    ``arguments``, joined, are its JSON. ``start``: the offset of this part in the parsed text.
    """

    index: int
    id: str
    name: str | None
    arguments: str
    start: int


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A whole tool call, given after its deltas. ``start``: the offset of its opening tag in the parsed text."""

    index: int
    id: str
    name: str
    arguments: dict[str, Any]
    start: int


@dataclass(frozen=True, slots=True)
class InvalidToolCall:
    """A tool call that cannot be run."""

    #: its number in the answer, from 0
    index: int
    #: its id
    id: str
    #: the tool's name; ``None`` if it could not be read
    name: str | None
    #: the arguments' JSON as far as deltas gave it before the tool call broke
    arguments: str
    #: the whole text of the tool call, tags included
    source: str
    #: why it cannot be run
    error: str
    #: the offset of ``source`` in the parsed text
    start: int


class OpenToolCall:
    """A tool call that is being written: its body is read as far as the text has come.

    Args:
        index: its number in the answer, from 0.
        tool_call_id: its id.
        tag_start: the offset of its opening tag in the parser's text.
    """

    def __init__(self, index: int, tool_call_id: str, tag_start: int) -> None:
        self.index, self.id, self.tag_start = index, tool_call_id, tag_start
        self.body_start = tag_start + len(TOOL_CALL_OPEN)
        self._name: str | None = None
        # the arguments' JSON is text[_arguments_start:_offset] so far
        self._arguments_start = self._offset = self.body_start
        self._depth = 0
        self._in_string = self._escaped = self._complete = False

    def read(self, text: str, end: int) -> list[ToolCallDelta]:
        """Read the body up to offset ``end`` of ``text``."""
        deltas: list[ToolCallDelta] = []
        if self._name is None:
            head = _HEAD.match(text, self.body_start, end)
            if head is None or head.end() >= end or text[head.end()] != "{":
                return deltas
            name = _name(head[1])
            if name is None:
                return deltas
            self._name, self._arguments_start, self._offset = name, head.end(), head.end()
            deltas.append(ToolCallDelta(self.index, self.id, name, "", self._offset))
        begin = self._offset
        while self._offset < end and not self._complete:
            self._read_character(text[self._offset])
            self._offset += 1
        if self._offset > begin:
            deltas.append(ToolCallDelta(self.index, self.id, None, text[begin : self._offset], begin))
        return deltas

    def _read_character(self, char: str) -> None:
        if self._in_string:
            if self._escaped:
                self._escaped = False
            elif char == "\\":
                self._escaped = True
            elif char == '"':
                self._in_string = False
        elif char == '"':
            self._in_string = True
        elif char in "{[":
            self._depth += 1
        elif char in "}]":
            self._depth -= 1
            self._complete = self._depth == 0

    def finish(self, text: str, end: int, *, source: str) -> list[ToolCallDelta | ToolCall | InvalidToolCall]:
        """End the body at offset ``end``; the last piece is the whole tool call, or an invalid one.

        Args:
            source: the whole text of the tool call, tags included.
        """
        try:
            body = json.loads(text[self.body_start : end], strict=False)
        except (ValueError, RecursionError) as error:
            return [self._invalid(text, source, f"not JSON: {error}")]
        if self._name is not None:
            arguments = json.loads(text[self._arguments_start : self._offset], strict=False)
            return [ToolCall(self.index, self.id, self._name, arguments, self.tag_start)]
        name = body.get("name") if isinstance(body, dict) else None
        if not isinstance(name, str) or not name:
            return [self._invalid(text, source, "it names no tool")]
        arguments = body.get("arguments")
        if isinstance(arguments, str):
            with contextlib.suppress(ValueError, RecursionError):
                arguments = json.loads(arguments, strict=False)
        arguments = {} if arguments is None else arguments
        if not isinstance(arguments, dict):
            self._name = name
            return [self._invalid(text, source, "its arguments are no JSON object")]
        arguments_json = json.dumps(arguments, ensure_ascii=False)
        return [
            ToolCallDelta(self.index, self.id, name, "", self.body_start),
            ToolCallDelta(self.index, self.id, None, arguments_json, self.body_start),
            ToolCall(self.index, self.id, name, arguments, self.tag_start),
        ]

    def _invalid(self, text: str, source: str, error: str) -> InvalidToolCall:
        arguments = text[self._arguments_start : self._offset]
        return InvalidToolCall(self.index, self.id, self._name, arguments, source, error, self.tag_start)


def _name(quoted: str) -> str | None:
    try:
        name = json.loads(quoted, strict=False)
    except ValueError:
        return None
    return name if isinstance(name, str) and name else None
