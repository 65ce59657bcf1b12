"""Tool calls: offered through the template, parsed from the text; one place for both plugins and the server.

A model that was trained for tools in Qwen's manner writes, once or several times in an answer,

    <tool_call>
    {"name": "price", "arguments": {"item": "tea"}}
    </tool_call>

Everything here is a pure function of its arguments, but for :class:`ToolCallParser`, which holds the state of one
stream. What goes in:

    offered = offer(tools, tool_choice)       # schemas for the template, and how the answer must begin
    events = relay.astream(messages, tools=offered.tools, prefix=offered.prefix)

and what comes out (the prefix is not part of ``result.text``; the parser wants to see it first):

    parsed = parse(offered.prefix + result.text)        # .content, .calls, .invalid

or, piece by piece, ``ToolCallParser.feed`` and ``.flush``. Left out: running tools, and the frameworks' own
message classes.

A call ends at the first closing tag, also inside a string; so the JSON written here spells ``<`` in such places
as ``\\u003c``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from relay_core.errors import ConfigurationError

TOOL_CALL_OPEN = "<tool_call>"
TOOL_CALL_CLOSE = "</tool_call>"

_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)+")\s*,\s*"arguments"\s*:\s*')
_TAGS = re.compile(f"{TOOL_CALL_OPEN}|{TOOL_CALL_CLOSE}")
_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}


# -- what is offered ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Offer:
    """``tools`` for the template, in OpenAI's function form; ``prefix``: what the assistant's turn begins with.

    Without ``tools`` nothing in the answer is a tool call.
    """

    tools: tuple[dict[str, Any], ...] = ()
    prefix: str = ""


def offer(tools: Sequence[Mapping[str, Any]] | None, tool_choice: Any = None) -> Offer:
    """Offer ``tools`` under ``tool_choice``.

    Args:
        tools: schemas, each as :func:`function_schema` takes them.
        tool_choice: ``None`` or ``"auto"``: the model's choice; ``"none"``: no tool is shown; ``"any"``,
            ``"required"`` or ``True``: the answer begins inside a call; a tool's name, or OpenAI's
            ``{"type": "function", "function": {"name": ...}}``: it begins inside a call of that tool.

    Raises:
        ConfigurationError: a schema without a name, or a choice that is not among the tools.
    """
    schemas = tuple(function_schema(tool) for tool in tools or ())
    names = [schema["function"]["name"] for schema in schemas]
    choice = _choice(tool_choice)
    if choice is None or choice == "auto":
        return Offer(schemas)
    if choice == "none":
        return Offer()
    if choice in ("any", "required"):
        if not names:
            raise ConfigurationError(f"tool_choice is {tool_choice!r}, but no tools are given")
        return Offer(schemas, forced_prefix(names[0] if len(names) == 1 else None))
    if choice not in names:
        known = ", ".join([*names, "auto", "any", "none"])
        raise ConfigurationError(f"tool_choice names {choice!r}, which is not among the tools: write one of {known}")
    return Offer(schemas, forced_prefix(choice))


def forced_prefix(name: str | None = None) -> str:
    """How an answer begins that must call a tool: any, or the one called ``name``.

    It ends where a token of the usual spelling ends, so that the model goes on as it was trained to.
    """
    head = f'{TOOL_CALL_OPEN}\n{{"name": "'
    return head if name is None else f'{head}{json.dumps(name)[1:-1]}", "arguments":'


def function_schema(tool: Mapping[str, Any]) -> dict[str, Any]:
    """``tool`` as ``{"type": "function", "function": {"name", "description", "parameters"}}``.

    Args:
        tool: that form, or only its inner part.

    Raises:
        ConfigurationError: it has no name, or its parameters are no JSON schema.
    """
    function = tool.get("function", tool) if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
        raise ConfigurationError(
            f'this tool has no name: {tool!r}; write {{"type": "function", "function": {{"name": ..., '
            '"description": ..., "parameters": {JSON schema}}}'
        )
    parameters = function.get("parameters") or _NO_PARAMETERS
    if not isinstance(parameters, Mapping):
        raise ConfigurationError(f"the parameters of tool {function['name']!r} are no JSON schema: {parameters!r}")
    description = function.get("description") or ""
    schema = {"name": function["name"], "description": description, "parameters": dict(parameters)}
    return {"type": "function", "function": schema}


def _choice(tool_choice: Any) -> str | None:
    if tool_choice is None or tool_choice is False:
        return None
    if tool_choice is True:
        return "any"
    if isinstance(tool_choice, Mapping):
        inner = tool_choice.get("function", tool_choice)
        tool_choice = inner.get("name") if isinstance(inner, Mapping) else None
    if not isinstance(tool_choice, str) or not tool_choice:
        raise ConfigurationError("tool_choice: write auto, any, none or the name of a tool")
    return tool_choice


# -- what goes back: messages that the template renders -----------------------------------------------------------


def call_entry(call_id: str | None, name: str, arguments: Mapping[str, Any] | str) -> dict[str, Any]:
    """One earlier call, for an assistant message's ``tool_calls``; arguments as an object, or as they were written."""
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": _inert(written)}}


def assistant_message(content: str, calls: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """An earlier assistant turn; ``calls`` from :func:`call_entry`."""
    message: dict[str, Any] = {"role": "assistant", "content": content}
    return {**message, "tool_calls": list(calls)} if calls else message


def tool_message(content: str, call_id: str) -> dict[str, Any]:
    """A tool's result, or the error it ended with."""
    return {"role": "tool", "content": content, "tool_call_id": call_id}


def call_ids(conversation: Any) -> Callable[[int], str]:
    """Ids for an answer's calls: the same ones for the same conversation, so that an answer can be repeated.

    Args:
        conversation: anything that JSON (or ``repr``) tells apart; the messages so far.
    """
    digest = hashlib.sha256(json.dumps(conversation, default=repr, sort_keys=True).encode("utf-8", "replace"))

    def call_id(index: int) -> str:
        mine = digest.copy()
        mine.update(f"\0{index}".encode())
        return f"call_{mine.hexdigest()[:24]}"

    return call_id


def _inert(arguments: str) -> str:
    """JSON in which no tag or control token can be read; ``<`` stands in strings only, so it may be escaped."""
    return re.sub(r"<(?=[|/a-z])", r"\\u003c", arguments)


# -- what comes out: text and calls, as they are written -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Content:
    """Text for the reader; ``start``: where it stands in everything that was fed."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class CallDelta:
    """More of the call number ``index``: its ``name`` first, alone; then its arguments' JSON as it is written."""

    index: int
    id: str
    name: str | None
    arguments: str
    start: int


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A whole call; its :class:`CallDelta` pieces, joined, say the same. ``start``: where its opening tag stands."""

    index: int
    id: str
    name: str
    arguments: dict[str, Any]
    start: int


@dataclass(frozen=True, slots=True)
class InvalidToolCall:
    """A call that cannot be made.

    ``arguments``: what had come as :class:`CallDelta` pieces before it broke; ``source``: all that was written,
    tags included; ``error``: what is wrong with it; ``start``: where the source stands.
    """

    index: int
    id: str
    name: str | None
    arguments: str
    source: str
    error: str
    start: int


Piece = Content | CallDelta | ToolCall | InvalidToolCall


@dataclass(frozen=True, slots=True)
class Parsed:
    """An answer: what is said, what is called, and calls that are broken."""

    content: str
    calls: list[ToolCall] = field(default_factory=list)
    invalid: list[InvalidToolCall] = field(default_factory=list)


def parse(text: str, new_id: Callable[[int], str] | None = None) -> Parsed:
    """A whole answer; ``new_id`` as in :class:`ToolCallParser`."""
    parser = ToolCallParser(new_id)
    pieces = parser.feed(text) + parser.flush()
    return Parsed(
        "".join(p.text for p in pieces if isinstance(p, Content)),
        [p for p in pieces if isinstance(p, ToolCall)],
        [p for p in pieces if isinstance(p, InvalidToolCall)],
    )


class ToolCallParser:
    """Splits a stream of text into content and calls; however the stream is cut, the pieces, joined, are the same.

    Text without a call comes out as it went in. Space between a call and its neighbours is not content.

    Args:
        new_id: the id of the call number n (from 0); :func:`call_ids` of nothing where left out.

    Example:
        >>> parser = ToolCallParser()
        >>> [p.text for p in parser.feed("Let me look. <tool") if isinstance(p, Content)]
        ['Let me look.']
        >>> [p.name for p in parser.feed('_call>{"name": "now", "arguments": {') if isinstance(p, CallDelta)]
        ['now', None]
        >>> [p.arguments for p in parser.feed("}}</tool_call>") if isinstance(p, ToolCall)]
        [{}]
    """

    def __init__(self, new_id: Callable[[int], str] | None = None) -> None:
        self._new_id = new_id or call_ids(None)
        self._text = ""
        self._at = 0  # everything before it is decided; inside a call, where its opening tag stands
        self._call: _Call | None = None
        self._index = 0
        self._said = False  # some content came out
        self._after_call = False  # nothing but space since the last call

    def feed(self, text: str) -> list[Piece]:
        """Take the next piece of the stream; return what is now decided, in order."""
        self._text += text
        pieces: list[Piece] = []
        while True:
            tag = _TAGS.search(self._text, self._seek())
            end = tag.start() if tag else len(self._text) - _partial_tag(self._text)
            if self._call is not None:
                pieces += self._call.advance(self._text, end)
                if tag is None:
                    return pieces
                pieces += self._end_call(end, closed=tag[0] == TOOL_CALL_CLOSE)
                self._at = tag.end() if tag[0] == TOOL_CALL_CLOSE else end
            elif tag is None:
                return pieces + self._content(end)
            elif tag[0] == TOOL_CALL_CLOSE:  # it closes nothing: text
                pieces += self._content(tag.end())
            else:
                pieces += self._content(end)
                self._at = end
                self._call = _Call(self._index, self._new_id(self._index), end)
                self._index += 1

    def flush(self) -> list[Piece]:
        """The end of the stream: what was held back is text, and an open call is whole or broken."""
        if self._call is not None:
            pieces = self._call.advance(self._text, len(self._text))
            return pieces + self._end_call(len(self._text), closed=False)
        pieces = self._content(len(self._text))
        if self._at < len(self._text) and not self._after_call:
            pieces.append(Content(self._text[self._at :], self._at))
        self._at = len(self._text)
        return pieces

    def _seek(self) -> int:
        return self._call.start if self._call is not None else self._at

    def _content(self, end: int) -> list[Piece]:
        """Content up to ``end`` but for the space at its end, which counts only if more content follows."""
        text = self._text[self._at : end]
        kept = len(text.rstrip())
        if not kept:
            return []
        skipped = len(text) - len(text.lstrip()) if self._after_call and not self._said else 0
        piece = Content(text[skipped:kept], self._at + skipped)
        self._at += kept
        self._said, self._after_call = True, False
        return [piece]

    def _end_call(self, end: int, *, closed: bool) -> list[Piece]:
        assert self._call is not None
        pieces = self._call.finish(
            self._text, end, source=self._text[self._at : end] + (TOOL_CALL_CLOSE if closed else "")
        )
        self._call, self._after_call, self._at = None, True, end
        return pieces


class _Call:
    """A call under construction: its tag stands at ``tag`` of the parser's text, its body begins at ``start``."""

    def __init__(self, index: int, call_id: str, tag: int) -> None:
        self.index, self.id, self.tag, self.start = index, call_id, tag, tag + len(TOOL_CALL_OPEN)
        self.name: str | None = None
        self.first = self.at = self.start  # the arguments' JSON: text[first:at] so far
        self.depth = 0
        self.in_string = self.escaped = self.whole = False

    def advance(self, text: str, end: int) -> list[Piece]:
        """Take in the body up to ``end``."""
        pieces: list[Piece] = []
        if self.name is None:
            head = _HEAD.match(text, self.start, end)
            if head is None or head.end() >= end or text[head.end()] != "{" or (name := _name(head[1])) is None:
                return pieces
            self.name, self.first, self.at = name, head.end(), head.end()
            pieces.append(CallDelta(self.index, self.id, name, "", self.at))
        begin = self.at
        while self.at < end and not self.whole:
            self._step(text[self.at])
            self.at += 1
        if self.at > begin:
            pieces.append(CallDelta(self.index, self.id, None, text[begin : self.at], begin))
        return pieces

    def _step(self, char: str) -> None:
        if self.in_string:
            if self.escaped:
                self.escaped = False
            elif char == "\\":
                self.escaped = True
            elif char == '"':
                self.in_string = False
        elif char == '"':
            self.in_string = True
        elif char in "{[":
            self.depth += 1
        elif char in "}]":
            self.depth -= 1
            self.whole = self.depth == 0

    def finish(self, text: str, end: int, *, source: str) -> list[Piece]:
        """The body ends at ``end``: a whole call, or a broken one."""
        try:
            body = json.loads(text[self.start : end], strict=False)
        except (ValueError, RecursionError) as error:
            return [self._broken(text, source, f"not JSON: {error}")]
        if self.name is not None:
            arguments = json.loads(text[self.first : self.at], strict=False)
            return [ToolCall(self.index, self.id, self.name, arguments, self.tag)]
        name = body.get("name") if isinstance(body, dict) else None
        if not isinstance(name, str) or not name:
            return [self._broken(text, source, "it names no tool")]
        arguments = body.get("arguments")
        if isinstance(arguments, str):
            with contextlib.suppress(ValueError, RecursionError):
                arguments = json.loads(arguments, strict=False)
        arguments = {} if arguments is None else arguments
        if not isinstance(arguments, dict):
            self.name = name
            return [self._broken(text, source, "its arguments are no JSON object")]
        return [
            CallDelta(self.index, self.id, name, "", self.start),
            CallDelta(self.index, self.id, None, json.dumps(arguments, ensure_ascii=False), self.start),
            ToolCall(self.index, self.id, name, arguments, self.tag),
        ]

    def _broken(self, text: str, source: str, error: str) -> InvalidToolCall:
        arguments = text[self.first : self.at]
        return InvalidToolCall(self.index, self.id, self.name, arguments, source, error, self.tag)


def _name(quoted: str) -> str | None:
    try:
        name = json.loads(quoted, strict=False)
    except ValueError:
        return None
    return name if isinstance(name, str) and name else None


def _partial_tag(text: str) -> int:
    """Characters at the end of ``text`` that may yet become a tag."""
    start = text.rfind("<", max(0, len(text) - len(TOOL_CALL_CLOSE) + 1))
    if start >= 0 and (TOOL_CALL_OPEN.startswith(text[start:]) or TOOL_CALL_CLOSE.startswith(text[start:])):
        return len(text) - start
    return 0
