"""Tools on their way to the models: the schemas on offer, and earlier tool calls and results as chat messages.

A model that was trained for tools in Qwen's manner writes, once or several times in an answer,

    <tool_call>
    {"name": "price", "arguments": {"item": "tea"}}
    </tool_call>

Nothing here keeps state. :func:`offer` gives the schemas for the template and the prefix
with which the answer must begin:

    offered = offer(tools, tool_choice)
    events = relay.astream(messages, tools=offered.tools, prefix=offered.prefix, constraint=offered.constraint)

``tool_parser.py`` reads the tool calls of the answer. Running tools, and the frameworks' own message classes, are left
to the plugins.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relay_core.constraint import CallableTool, Constraint, Kind, ToolCall
from relay_core.errors import ConfigurationError

TOOL_CALL_OPEN = "<tool_call>"
TOOL_CALL_CLOSE = "</tool_call>"

_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}


# -- what is offered ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Offer:
    """The tools that an answer may call.

    ``tools``: schemas for the template, in OpenAI's function form; without any, no text of the answer is read as a tool
    call. ``prefix``: the text with which the assistant's turn must begin. ``constraint``: what the text behind the
    prefix is held to by engines that can.
    """

    tools: tuple[dict[str, Any], ...] = ()
    prefix: str = ""
    constraint: Constraint | None = None


def offer(tools: Sequence[Mapping[str, Any]] | None, tool_choice: Any = None) -> Offer:
    """Offer ``tools`` under ``tool_choice``.

    Args:
        tools: schemas, each as :func:`function_schema` takes them.
        tool_choice: ``None`` or ``"auto"`` leaves the choice to the model. ``"none"`` shows it no tool. With ``"any"``,
            ``"required"`` or ``True`` the answer begins inside a tool call. With a tool's name, or OpenAI's
            ``{"type": "function", "function": {"name": ...}}``, it begins inside a tool call of that tool.

    Raises:
        ConfigurationError: a schema has no name, or ``tool_choice`` names no tool on offer.
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
        only_name = names[0] if len(names) == 1 else None
        return Offer(schemas, forced_prefix(only_name), _constraint(tools or (), only_name))
    if choice not in names:
        known = ", ".join([*names, "auto", "any", "none"])
        raise ConfigurationError(f"tool_choice names {choice!r}, which is not among the tools: write one of {known}")
    return Offer(schemas, forced_prefix(choice), _constraint(tools or (), choice))


def _constraint(tools: Sequence[Mapping[str, Any]], name: str | None) -> Constraint:
    """What follows the forced prefix of the tool ``name``, or of any of ``tools``."""
    callable_tools = []
    for tool in tools:
        function = function_schema(tool)["function"]
        is_strict = tool.get("function", tool).get("strict") is True
        callable_tools.append(CallableTool(function["name"], function["parameters"], is_strict))
    if name is not None:
        callable_tools = [tool for tool in callable_tools if tool.name == name][:1]
    return Constraint(Kind.TOOL_CALL, ToolCall(tuple(callable_tools), name is not None))


def forced_prefix(name: str | None = None) -> str:
    """The beginning of an answer that must call a tool: any tool, or the one called ``name``.

    The prefix ends at a token boundary of the usual spelling, so that the model continues as it was trained to.
    """
    head = f'{TOOL_CALL_OPEN}\n{{"name": "'
    return head if name is None else f'{head}{without_tags(json.dumps(name, ensure_ascii=False))[1:-1]}", "arguments":'


def function_schema(tool: Mapping[str, Any]) -> dict[str, Any]:
    """``tool`` as ``{"type": "function", "function": {"name", "description", "parameters"}}``.

    Args:
        tool: that form, or only its inner part.

    Raises:
        ConfigurationError: the tool has no name, or its parameters are no JSON schema.
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


def tool_call_entry(tool_call_id: str | None, name: str, arguments: Mapping[str, Any] | str) -> dict[str, Any]:
    """One entry of an assistant message's ``tool_calls``.

    Args:
        arguments: the arguments as an object, or as JSON text; text that is no valid JSON is kept as it is.
    """
    arguments_json = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    function = {"name": name, "arguments": without_tags(arguments_json)}
    return {"id": tool_call_id, "type": "function", "function": function}


def assistant_message(content: str, tool_calls: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """An earlier assistant turn; ``tool_calls`` are made by :func:`tool_call_entry`."""
    message: dict[str, Any] = {"role": "assistant", "content": content}
    return {**message, "tool_calls": list(tool_calls)} if tool_calls else message


def tool_message(content: str, tool_call_id: str) -> dict[str, Any]:
    """A tool's result, or the text of its error, as a message."""
    return {"role": "tool", "content": content, "tool_call_id": tool_call_id}


def tool_call_ids() -> Callable[[int], str]:
    """A function from the index of a tool call in one answer to its id.

    The ids have a random part, so that no two answers share one: a batch may hold the same question twice. The parts of
    one answer agree, because they are made with one function.
    """
    answer = secrets.token_hex(10)
    return lambda index: f"call_{answer}{index:04x}"


def without_tags(arguments_json: str) -> str:
    """The same JSON without a tag or control token in it.

    Templates write arguments as they are, and models read tags wherever they stand. JSON has ``<`` only inside strings,
    where it may be escaped as ``\\u003c``.
    """
    return re.sub(r"<(?=[|/a-z])", r"\\u003c", arguments_json)
