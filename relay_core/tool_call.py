"""One tool call: the pieces that the parser returns for it, and its state while it is being written.

``tool_parser.py`` finds the tags in the stream; this module reads the JSON between them. It also reads the variants
that small models write: a fence (```` ```json ````) around the JSON, doubled braces, a list of tool calls, the key
``parameters``, and Python's quotes (if no part of the tool call has been returned yet).
"""

from __future__ import annotations

import ast
import contextlib
import json
import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from relay_core.tools import TOOL_CALL_CLOSE, TOOL_CALL_OPEN

TAG = re.compile(f"{TOOL_CALL_OPEN}|{TOOL_CALL_CLOSE}")
# what may precede the first object: a fence, and the bracket of a list
_LEAD = re.compile(r"\s*(?:`{1,3}|```\w*\s*)?(?:\[\s*)?")
_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)+")\s*,\s*"(?:arguments|parameters)"\s*:\s*')
# the beginning of an answer that is a tool call without a tag, and what may become it
BARE = re.compile(r'(?:```\w*\s*)?\{\{?\s*"name"\s*:\s*("(?:[^"\\]|\\.)+")\s*,\s*"(?:arguments|parameters)"\s*:\s*\{')
MAY_BECOME_BARE = re.compile(r'`{1,2}|```\w*\s*|(?:```\w*\s*)?\{\{?\s*(?:"(?:n(?:a(?:m(?:e(?:"[^{]*)?)?)?)?)?)?')
# characters to stop at: outside strings, also those that no JSON has there
_OUTSIDE_STRINGS = re.compile(r'["{}\[\]]|[^\s:,\w.+-]')
_INSIDE_STRINGS = re.compile(r'["\\<]')
_FENCE = re.compile(r"\s*```\w*\s*")
_MOST_PYTHON = 20_000  # the most characters of a body that is parsed as Python


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """The next part of tool call number ``index``.

    The first delta of a tool call has its ``name`` and no arguments. The later deltas have no name; their joined
    ``arguments`` are the JSON of the arguments. ``start``: the offset of this part in the parsed text.
    """

    index: int
    id: str
    name: str | None
    arguments: str
    start: int


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A complete tool call, which follows its deltas. ``start``: the offset of its opening tag in the parsed text."""

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
    #: the part of the arguments' JSON that deltas held before the tool call broke
    arguments: str
    #: the whole text of the tool call, tags included
    source: str
    #: why it cannot be run
    error: str
    #: the offset of ``source`` in the parsed text
    start: int
    #: whether the text ended before its JSON did
    is_cut: bool


class Progress(Enum):
    """How far the JSON of a tool call has come."""

    INCOMPLETE = auto()
    COMPLETE = auto()  # the first value has ended
    BROKEN = auto()  # no further text can make it a tool call


class OpenToolCall:
    """A tool call that is being written; each part of its body is read once, when it arrives.

    A tag inside a string belongs to the string if the JSON becomes complete; otherwise it ends the tool call. The
    deltas therefore stop before the first such tag until the JSON is complete.

    Args:
        index: its number in the answer, from 0.
        tool_call_id: its id.
        start: the offset of its opening tag in the parsed text; all offsets here are offsets in that text.
        tag: the opening tag; empty for a tool call without one, and for a further tool call of a list.
    """

    def __init__(self, index: int, tool_call_id: str, start: int, tag: str = TOOL_CALL_OPEN) -> None:
        self.index, self.id, self.start = index, tool_call_id, start
        self.body_start = start + len(tag)
        #: the text before the JSON: the opening tag and, once the JSON begins, a fence, and a bracket or a brace
        self.lead = tag
        #: the offset up to which the body was read
        self.offset = self.body_start
        self.progress = Progress.INCOMPLETE
        #: the first tag inside a string, and its offset
        self.tag_in_string: tuple[int, str] | None = None
        self._body: list[str] = []
        self._name: str | None = None
        self._error = ""
        self._depth = 0
        self._in_string = self._escaped = False
        # the arguments, where deltas give them as they are written: given as far as _given_to
        self._arguments_start: int | None = None
        self._arguments_end: int | None = None
        self._given_to = 0
        self._name_was_given = self._reached_depth_2 = False

    def body(self, end: int) -> str:
        """The text from the opening tag to offset ``end``."""
        self._body = ["".join(self._body)]
        return self._body[0][: end - self.body_start]

    def skip(self, text: str) -> None:
        """Append text to a broken body."""
        self._body.append(text)
        self.offset += len(text)

    def read(self, text: str, position: int, *, is_last: bool) -> list[ToolCallDelta]:
        """Read ``text`` from ``position`` on, which has the offset :attr:`offset` in the parsed text.

        Reading ends after the first JSON value, before a character that breaks it, or at the end of ``text``. Unless
        the text ``is_last``, reading also ends before characters that may become a tag inside a string.
        """
        base, begin = self.offset - position, position
        name_deltas: list[ToolCallDelta] = []
        while position < len(text) and self.progress is Progress.INCOMPLETE:
            if self._escaped:
                self._escaped = False
                position += 1
                continue
            found = (_INSIDE_STRINGS if self._in_string else _OUTSIDE_STRINGS).search(text, position)
            position = len(text) if found is None else found.start()
            if found is None:
                break
            if self._in_string:
                if found[0] == "<" and not is_last and may_become_tag(text, position):
                    break
                self._read_in_string(found[0], TAG.match(text, position), base + position)
            else:
                if found[0] in "{[`" and not self._reached_depth_2:
                    self._body.append(text[begin:position])
                    begin = position
                    name_deltas = self._read_opening(found[0], base + position)
                if not self._read_outside_strings(found[0], base + position):
                    break
            position += 1
        self._body.append(text[begin:position])
        self.offset = base + position
        return name_deltas + self._arguments_delta(text, base)

    def _read_in_string(self, char: str, tag: re.Match[str] | None, offset: int) -> None:
        if char == "<":
            if tag is not None and self.tag_in_string is None:
                self.tag_in_string = (offset, tag[0])
        else:
            self._in_string, self._escaped = char != '"', char == "\\"

    def _read_opening(self, char: str, offset: int) -> list[ToolCallDelta]:
        """Read a character of the lead, the brace at ``offset`` with which the JSON begins, or that of the arguments.

        Returns the delta with the name, if the arguments begin. A brace that is doubled, as some chat templates show
        it, is of the lead too.
        """
        before = self.body(offset)
        is_doubled = self._depth == 1 and char == "{" == before.rstrip() and "{" not in self.lead
        if self._depth and not is_doubled:
            return self._begin_arguments(offset, before) if char == "{" else []
        if char == "{" and (is_doubled or _LEAD.fullmatch(before)):
            self.lead, self.body_start, self._body, self._depth = self.lead + before, offset, [], 0
        elif char != "{" and not _LEAD.fullmatch(before + char):
            self.progress = Progress.BROKEN
        return []

    def _read_outside_strings(self, char: str, offset: int) -> bool:
        """Read a character that is not part of a space, name or number; ``False`` if JSON does not allow it there."""
        if self.progress is Progress.BROKEN or (char in "[`" and not self._depth):
            pass
        elif char == "{" or (char == "[" and self._depth):
            self._depth += 1
            self._reached_depth_2 |= self._depth == 2
        elif char in "}]" and self._depth:
            self._depth -= 1
            if self._depth == 1 and self._arguments_end is None:
                self._arguments_end = offset + 1
            elif self._depth == 0:
                self.progress = Progress.COMPLETE
        elif char == '"' and self._depth:
            self._in_string = True
        else:
            self.progress = Progress.BROKEN
        return self.progress is not Progress.BROKEN

    def _begin_arguments(self, offset: int, before: str) -> list[ToolCallDelta]:
        """The delta with the name, if the object at ``offset`` holds the arguments and ``before`` has the name."""
        head = _HEAD.fullmatch(before)
        self._name = None if head is None else _name(head[1])
        if self._name is None:
            return []
        self._arguments_start = self._given_to = offset
        if self.tag_in_string is not None:
            return []
        self._name_was_given = True
        return [ToolCallDelta(self.index, self.id, self._name, "", offset)]

    def _arguments_delta(self, text: str, base: int) -> list[ToolCallDelta]:
        """The delta with the arguments that were read last; ``text`` begins at offset ``base``."""
        if not self._name_was_given or (self.tag_in_string is not None and self._given_to >= self.tag_in_string[0]):
            return []
        end = min(self.offset, self._arguments_end or self.offset)
        if self.tag_in_string is not None:
            end = min(end, self.tag_in_string[0])
        if end <= self._given_to:
            return []
        delta = ToolCallDelta(self.index, self.id, None, text[self._given_to - base : end - base], self._given_to)
        self._given_to = end
        return [delta]

    def whole(self) -> list[ToolCallDelta | ToolCall]:
        """The remaining pieces of a complete tool call, the last of which is the tool call itself.

        Empty if the JSON is not a tool call; this tool call is then broken.
        """
        body = self.body(self.offset)
        try:
            value = json.loads(body, strict=False)
            if self._arguments_start is not None and self._arguments_end is not None:
                begin, end = self._arguments_start - self.body_start, self._arguments_end - self.body_start
                arguments_json, start = body[begin:end], self._arguments_start
                name, arguments = self._name, json.loads(arguments_json, strict=False)
            else:
                name, arguments = _name_of(value), _arguments_of(value)
                arguments_json, start = json.dumps(arguments, ensure_ascii=False), self.body_start
        except (ValueError, RecursionError) as error:
            return self._break(f"not JSON: {error}")
        return self._pieces(name, arguments, arguments_json, start)

    def in_python(self, end: int) -> list[ToolCallDelta | ToolCall]:
        """The pieces of a broken tool call whose body, which ends at offset ``end``, is a dict in Python's notation.

        Empty if the body is not such a dict, or if a part of the tool call has already been returned.
        """
        body = self.body(end).strip()
        is_candidate = "'" in body and "\\" not in body and len(body) <= _MOST_PYTHON
        if self._name_was_given or not is_candidate:
            return []
        try:
            fence = _FENCE.match(body)
            unfenced = body[fence.end() :] if fence else body
            value = ast.literal_eval(unfenced.rstrip().removesuffix("```").rstrip())
            name, arguments = _name_of(value), _arguments_of(value)
            arguments_json = json.dumps(arguments, ensure_ascii=False)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return []
        return self._pieces(name, arguments, arguments_json, self.body_start)

    def _pieces(
        self, name: str | None, arguments: Any, arguments_json: str, start: int
    ) -> list[ToolCallDelta | ToolCall]:
        """The remaining pieces of a complete tool call whose arguments begin at offset ``start``."""
        if name is None:
            return self._break("it names no tool")
        self._name = name
        if not isinstance(arguments, dict):
            return self._break("its arguments are no JSON object")
        pieces: list[ToolCallDelta | ToolCall] = []
        if not self._name_was_given:
            self._given_to = start
            pieces.append(ToolCallDelta(self.index, self.id, name, "", start))
        given = self._given_to - start
        if given < len(arguments_json):
            pieces.append(ToolCallDelta(self.index, self.id, None, arguments_json[given:], self._given_to))
        return [*pieces, ToolCall(self.index, self.id, name, arguments, self.start)]

    def _break(self, error: str) -> list[ToolCallDelta | ToolCall]:
        self.progress, self._error = Progress.BROKEN, error
        return []

    def invalid(self, end: int, closing_tag: str) -> InvalidToolCall:
        """This tool call as an invalid one, because it is broken or cut off; its body ends at offset ``end``."""
        body = self.body(end)
        if not self._error:
            try:
                json.loads(body, strict=False)
                self._error = "it is no JSON object"
            except (ValueError, RecursionError) as error:
                self._error = f"not JSON: {error}"
        given = "" if self._arguments_start is None else body[self._arguments_start - self.body_start :]
        given = given[: self._given_to - (self._arguments_start or 0)] if self._name_was_given else ""
        source = self.lead + body + closing_tag
        is_cut = self.progress is Progress.INCOMPLETE and self.tag_in_string is None
        return InvalidToolCall(self.index, self.id, self._name, given, source, self._error, self.start, is_cut)


def may_become_tag(text: str, position: int) -> bool:
    """Whether ``text`` ends with the beginning of a tag that starts at ``position``."""
    rest = text[position : position + len(TOOL_CALL_CLOSE)]
    return position + len(rest) == len(text) and any(
        len(rest) < len(tag) and tag.startswith(rest) for tag in (TOOL_CALL_OPEN, TOOL_CALL_CLOSE)
    )


def bare_name(text: str) -> str | None:
    """The name in the tool call without a tag that ``text`` begins with; ``None`` if it begins with none."""
    head = BARE.match(text)
    return None if head is None else _name(head[1])


def _name(quoted: str) -> str | None:
    try:
        return _name_of({"name": json.loads(quoted, strict=False)})
    except ValueError:
        return None


def _name_of(body: Any) -> str | None:
    name = body.get("name") if isinstance(body, dict) else None
    return name if isinstance(name, str) and name else None


def _arguments_of(body: Any) -> Any:
    """The arguments in a tool call's JSON; some models write them as a JSON string, or leave them out."""
    arguments = body.get("arguments", body.get("parameters")) if isinstance(body, dict) else None
    if isinstance(arguments, str):
        with contextlib.suppress(ValueError, RecursionError):
            arguments = json.loads(arguments, strict=False)
    return {} if arguments is None else arguments
