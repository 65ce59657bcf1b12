"""Turns tool calls that a server parsed out of the text back into ``<tool_call>`` text.

Each tool call stays intact: ``<`` in its strings is written as the JSON escape ``\\u003c``, so that no tag inside a
string ends it, and its text is not mixed with other tool calls or with content.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from relay_core.engines.base import Token
from relay_core.engines.openai.faults import Fault
from relay_core.tools import TOOL_CALL_CLOSE, TOOL_CALL_OPEN
from relay_core.unicode import repair_surrogates

_MAX_CALLS = 1000
_SPACE = 8  # characters by which the same JSON may differ at its ends


class ParsedToolCall:
    """The tool calls of one response, in the order in which they began.

    The first incomplete tool call is passed on as it arrives; later tool calls and content wait until it is complete.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._passed_on = 0  # the number of tool calls that are passed on completely
        self._content = ""  # content that arrived after an incomplete tool call

    @property
    def has_calls(self) -> bool:
        """Whether a tool call has begun."""
        return bool(self._calls)

    def read(self, choice: Mapping[str, Any], content: str) -> list[Token]:
        """The text that one choice adds.

        Args:
            choice: the first choice of an event.
            content: its content, which comes before its tool calls.

        Raises:
            Fault: the tool calls violate the protocol.
        """
        deltas = list(_deltas(choice))
        if not self._calls and not deltas:
            return [Token(None, content)] if content else []
        tokens: list[Token] = []
        self._content += content
        if self._content and all(call.is_complete for call in self._waiting):
            tokens += self.end(is_cut=False)
        for delta in deltas:
            self._add(delta)
        return tokens + self._pass_on(ends=False)

    def end(self, *, is_cut: bool) -> list[Token]:
        """End the response; returns the remaining text of the tool calls, and the content after them.

        Args:
            is_cut: whether the length limit ended the answer; the last tool call then stays open unless its arguments
                are complete.
        """
        tokens = self._pass_on(ends=True, is_cut=is_cut)
        content, self._content = self._content, ""
        return [*tokens, Token(None, content)] if content else tokens

    @property
    def _waiting(self) -> list[_Call]:
        """The tool calls that are not passed on completely."""
        return self._calls[self._passed_on :]

    def _add(self, delta: Any) -> None:
        """Append a delta to the tool call that it belongs to."""
        if not isinstance(delta, Mapping) or not isinstance(function := delta.get("function") or {}, Mapping):
            raise _malformed(delta)
        name, arguments = function.get("name") or None, _arguments_json(function.get("arguments"))
        call = self._call_of(delta.get("id") or None, delta.get("index"), name, arguments)
        if call is None:
            if not isinstance(name, str):
                raise _malformed(delta)
            if len(self._calls) >= _MAX_CALLS:
                raise Fault(f"more than {_MAX_CALLS} tool calls in the event stream")
            call = _Call(delta.get("id") or None, delta.get("index"), name)
            self._calls.append(call)
        call.id = call.id or delta.get("id") or None
        if call.repeats(arguments):
            return
        if call not in self._waiting:
            raise _malformed(delta)
        call.add(arguments)

    def _call_of(self, call_id: Any, index: Any, name: Any, arguments: str) -> _Call | None:
        """The tool call that a delta continues; ``None`` if the delta begins a new one.

        A new id begins a new tool call. If the delta has no id, a name begins a new tool call, unless a tool call with
        this name has incomplete arguments, because some servers repeat the name in every delta. Without a name, the
        delta continues the tool call with its id or index, or the last tool call.
        """
        same_index = [call for call in self._calls if index is None or call.index == index]
        same_id = [call for call in same_index if call_id is not None and call.id == call_id]
        if name is None:
            by_id = [call for call in self._calls if call_id is not None and call.id == call_id]
            return next((calls[-1] for calls in (by_id, same_index, self._calls) if calls), None)
        if same_id:
            call = same_id[-1]
            return None if call.is_complete and not call.repeats(arguments) else call
        call_or_none = (same_index if index is not None else self._calls)[-1:]
        for call in call_or_none:
            has_other_id = call_id is not None and call.id is not None
            if not has_other_id and call.name == name and not call.is_complete and call in self._waiting:
                return call
        return None

    def _pass_on(self, *, ends: bool, is_cut: bool = False) -> list[Token]:
        """The text of the tool calls that can be passed on now."""
        text = ""
        for call in self._waiting:
            if not call.has_begun and call is not self._calls[0]:
                text += "\n"
            text += call.take()
            is_last = call is self._calls[-1]
            if not ends and (is_last or not call.is_complete):
                break
            if not (is_cut and is_last and not call.is_complete):
                text += call.close()
            self._passed_on += 1
        return [Token(None, text, is_tool_call=True)] if text else []


class _Call:
    """One tool call. ``is_complete``: whether its arguments are a complete JSON value."""

    def __init__(self, call_id: Any, index: Any, name: str) -> None:
        self.id, self.index, self.name = call_id, index, name
        self.has_begun = False
        self.is_complete = False
        self._arguments: list[str] = []
        self._length = 0  # characters of the arguments
        self._pending = ""  # text that has not been taken yet
        self._depth = 0
        self._in_string = self._is_escaped = False

    def add(self, arguments: str) -> None:
        """Append a part of the arguments' JSON."""
        if not self._arguments:
            arguments = arguments.lstrip()
        if arguments:
            self._arguments.append(arguments)
            self._length += len(arguments)
            self._pending += arguments
            for char in arguments:
                self._read_character(char)

    def repeats(self, arguments: str) -> bool:
        """Whether the arguments are complete and a delta adds nothing: it is empty or repeats all of them."""
        if not self.is_complete:
            return False
        text = arguments.strip()
        return not text or (len(text) + _SPACE >= self._length and text == "".join(self._arguments).strip())

    def _read_character(self, char: str) -> None:
        if self._in_string:
            if self._is_escaped:
                self._is_escaped = False
            elif char == "\\":
                self._is_escaped = True
            elif char == '"':
                self._in_string = False
                self.is_complete = self._depth == 0
        elif char == '"':
            self._in_string = True
        elif char in "{[":
            self._depth += 1
            self.is_complete = False
        elif char in "}]":
            self._depth -= 1
            self.is_complete = self._depth == 0

    def take(self) -> str:
        """The text that has arrived since the last call of this method."""
        text, self._pending = self._pending, ""
        if not self.has_begun:
            self.has_begun = True
            text = f'{TOOL_CALL_OPEN}\n{{"name": {_escaped(json.dumps(self.name))}, "arguments": ' + _escaped(text)
        else:
            text = _escaped(text)
        return text

    def close(self) -> str:
        """The end of the tool call's text."""
        return ("" if self._arguments else "{}") + f"}}\n{TOOL_CALL_CLOSE}"


def _escaped(json_text: str) -> str:
    """The same JSON without ``<``, which occurs only in strings."""
    return repair_surrogates(json_text).replace("<", "\\u003c")


def _arguments_json(arguments: Any) -> str:
    """The arguments of one delta, a part of their JSON; some servers send an object, or nothing."""
    if arguments is None or arguments == []:  # an empty object is a list in PHP
        return ""
    if isinstance(arguments, Mapping):
        return json.dumps(arguments, ensure_ascii=False)
    if not isinstance(arguments, str):
        raise _malformed(arguments)
    return arguments


def _deltas(choice: Mapping[str, Any]) -> Iterator[Any]:
    source = choice.get("delta") or choice.get("message")
    if not isinstance(source, Mapping):
        return
    tool_calls = source.get("tool_calls") or []
    if not isinstance(tool_calls, list):
        raise _malformed(tool_calls)
    yield from tool_calls
    if function := source.get("function_call"):  # the form before tool calls
        yield {"function": function}


def _malformed(data: Any) -> Fault:
    """The fault for tool calls that violate the protocol."""
    return Fault(f"malformed tool calls in the event stream: {str(data)[:80]!r}")
