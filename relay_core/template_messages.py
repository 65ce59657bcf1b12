"""Converts a conversation's messages into the form that one chat template takes.

The result of :func:`normalised` is the same for every template: arguments of tool calls are mappings, and results have
the names of their tools. The result of :func:`in_form` depends on the template: tools are text if the template knows no
tools, the system text is in the first user message if the template has no system role, and content is a string or a
list of parts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from relay_core.template import Template, ToolForm
from relay_core.tool_text import as_text, offer_text
from relay_core.tools import function_schema

Message = dict[str, Any]


class Formed(NamedTuple):
    """The input of the template, and ``remarks`` about the parts that it could not show unchanged."""

    messages: list[Message]
    tools: list[Mapping[str, Any]]
    remarks: tuple[str, ...]


def normalised(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The messages, completed with the fields that templates expect."""
    open_calls: list[tuple[Any, str]] = []  # id and name of the calls whose results have not come
    formed: list[Message] = []
    for message in messages:
        # transformers leaves such keys out since version 5.24 only
        message = {key: value for key, value in message.items() if value is not None or key == "content"}
        if "tool_calls" in message and not message["tool_calls"]:
            del message["tool_calls"]  # templates check whether the key exists
        if "tool_calls" in message:
            message["tool_calls"] = [_with_mapping(call) for call in message["tool_calls"]]
            open_calls = [(call.get("id"), call["function"]["name"]) for call in message["tool_calls"]]
        if message["role"] == "tool":
            name = _tool_name(message.get("tool_call_id"), open_calls)
            if name is not None:
                message.setdefault("name", name)
        reasoning = message.get("reasoning_content", message.get("reasoning"))
        if isinstance(reasoning, str):  # each template knows one of the two keys
            message |= {"reasoning": reasoning, "reasoning_content": reasoning}
        formed.append(message)
    return formed


def normalised_tool(tool: Mapping[str, Any]) -> Message:
    """The schema of a tool with its keys in the order that models were trained on; a missing description becomes empty.

    Raises:
        ConfigurationError: as :func:`~relay_core.tools.function_schema`.
    """
    schema = function_schema(tool)
    return {**schema, "function": {**schema["function"], **_further(tool.get("function", tool), schema["function"])}}


def _further(function: Mapping[str, Any], schema: Mapping[str, Any]) -> Message:
    return {key: value for key, value in function.items() if key not in schema and key != "type"}


def _with_mapping(call: Mapping[str, Any]) -> Message:
    function = call.get("function", call)
    return {**call, "function": {**function, "arguments": arguments_mapping(function.get("arguments"))}}


def arguments_mapping(arguments: Any) -> dict[str, Any]:
    """The arguments of a tool call, from a mapping or from JSON text; text that is not a JSON object gives no
    arguments.

    The arguments of an earlier, broken tool call are left out, because models repeat the form of what they wrote
    before.
    """
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments, strict=False)
        except (ValueError, RecursionError):
            return {}
    return dict(arguments) if isinstance(arguments, Mapping) else {}


def _tool_name(tool_call_id: Any, open_calls: list[tuple[Any, str]]) -> str | None:
    """The name of a result's tool: that of the tool call with its id or, without an id, the first without a result."""
    for i, (call_id, name) in enumerate(open_calls):
        if call_id == tool_call_id or not tool_call_id:
            del open_calls[i]
            return name
    return None


def in_form(template: Template, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> Formed:
    """Normalised messages and tools, in the form that ``template`` takes."""
    formed, remarks = list(messages), []
    offered = ""
    if tools or any(message["role"] == "tool" or "tool_calls" in message for message in messages):
        if template.tools_as_text:
            formed, offered, tools = as_text(formed, wants_turns=template.wants_turns), _offered(tools), ()
            remarks.append(_tools_remark(template.tool_form))
        elif template.tool_form is not None:
            formed = [_in_tool_form(message, template.tool_form) for message in formed]
    if offered or any(message["role"] == "system" for message in formed):
        formed, moved = _with_system(template, formed, offered)
        remarks += moved
    if template.content_as_parts:
        formed = [_in_parts(message) for message in formed]
    return Formed(formed, list(tools), tuple(remarks))


def _offered(tools: Sequence[Mapping[str, Any]]) -> str:
    return offer_text(tools) if tools else ""


def _tools_remark(form: ToolForm | None) -> str:
    reason = "knows no tools" if form is None else "has a form of tool calls that is not parsed here"
    return f"the chat template {reason}: tools, their calls and results were written into the messages as text"


def _in_tool_form(message: Message, form: ToolForm) -> Message:
    if "tool_calls" not in message:
        return message
    message = dict(message)
    if form.without_content and not message["content"]:
        message["content"] = None
    if form.arguments_as_text:
        message["tool_calls"] = [_with_text(call) for call in message["tool_calls"]]
    return message


def _with_text(call: Mapping[str, Any]) -> Message:
    function = call["function"]
    return {**call, "function": {**function, "arguments": json.dumps(function["arguments"], ensure_ascii=False)}}


def _with_system(template: Template, messages: list[Message], offered: str) -> tuple[list[Message], list[str]]:
    """The messages with the system text, followed by the tools on offer, at a place that the template shows."""
    systems = [message for message in messages if message["role"] == "system"]
    others = [message for message in messages if message["role"] != "system"]
    if not template.renders_system:
        text = _joined([*systems, {"content": offered}])
        first = next((i for i, message in enumerate(others) if message["role"] == "user"), None)
        if first is None:
            others.insert(0, {"role": "user", "content": text})
        else:
            others[first] = {**others[first], "content": _joined([{"content": text}, others[first]])}
        remark = "the chat template shows no system message: its text was put before the first user message"
        return others, [remark] if systems else []
    if len(systems) > 1 and not template.renders_several_systems:
        messages = [{**systems[0], "content": _joined(systems)}, *others]
    if offered:
        leading = messages[:1] if messages[0]["role"] == "system" else []
        text = _joined([*leading, {"content": offered}])
        messages = [{"role": "system", "content": text}, *messages[len(leading) :]]
    return messages, []


def _joined(messages: Sequence[Message]) -> str:
    return "\n\n".join(message["content"] for message in messages if message["content"])


def _in_parts(message: Message) -> Message:
    content = message["content"]
    if not isinstance(content, str) or message["role"] == "tool":
        return message
    return {**message, "content": [{"type": "text", "text": content}]}
