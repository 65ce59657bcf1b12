"""Tools in prompts: the schemas on offer, and earlier tool calls and results as chat messages.

A model that was trained for tools in Qwen's format writes the following once or several times in an answer:

    <tool_call>
    {"name": "price", "arguments": {"item": "tea"}}
    </tool_call>

:func:`offer` returns the schemas for the template, and the prefix with which the answer must begin:

    offered = offer(tools, tool_choice)
    events = relay.astream(messages, tools=offered.tools, prefix=offered.prefix, constraint=offered.constraint)

``tool_parser.py`` reads the tool calls of the answer. The plugins run the tools, and convert the messages of the
frameworks.
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

    ``tools``: schemas for the template, in OpenAI's function form; if there are none, no text of the answer is read as
    a tool call. ``prefix``: the text with which the assistant's turn must begin. ``constraint``: the constraint that
    engines with constrained decoding apply to the text after the prefix.
    """

    tools: tuple[dict[str, Any], ...] = ()
    prefix: str = ""
    constraint: Constraint | None = None


def offer(tools: Sequence[Mapping[str, Any]] | None, tool_choice: Any = None) -> Offer:
    """Offer ``tools`` under ``tool_choice``.

    Args:
        tools: schemas, in a form that :func:`function_schema` accepts.
        tool_choice: ``None`` or ``"auto"`` leaves the choice to the model. ``"none"`` shows no tool to the model.
            ``"any"``, ``"required"`` or ``True`` forces the answer to begin with a tool call. The name of a tool, or
            OpenAI's ``{"type": "function", "function": {"name": ...}}``, forces a call of that tool.

    Raises:
        ConfigurationError: a schema has no name, or ``tool_choice`` names a tool that is not on offer.
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
    """The constraint for the text after the forced prefix of the tool ``name``, or of any of ``tools``."""
    callable_tools = []
    for tool in tools:
        function = function_schema(tool)["function"]
        is_strict = tool.get("function", tool).get("strict") is True
        callable_tools.append(CallableTool(function["name"], function["parameters"], is_strict))
    if name is not None:
        callable_tools = [tool for tool in callable_tools if tool.name == name][:1]
    return Constraint(Kind.TOOL_CALL, ToolCall(tuple(callable_tools), name is not None))


def forced_prefix(name: str | None = None) -> str:
    """The beginning of an answer that must call a tool: any tool, or the tool ``name``.

    The prefix ends at a token boundary of the usual spelling, so that the model continues as it was trained to.
    """
    head = f'{TOOL_CALL_OPEN}\n{{"name": "'
    return head if name is None else f'{head}{without_tags(json.dumps(name, ensure_ascii=False))[1:-1]}", "arguments":'


def function_schema(tool: Mapping[str, Any]) -> dict[str, Any]:
    """``tool`` as ``{"type": "function", "function": {"name", "description", "parameters"}}``.

    Args:
        tool: that form, or only its inner part.

    Raises:
        ConfigurationError: the tool has no name, or its parameters are not a JSON schema.
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
        arguments: the arguments as an object or as JSON text; invalid JSON is kept unchanged.
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
    """A function that returns the id of a tool call for its index in one answer.

    The ids have a random part, so that different answers have different ids, even if a batch holds the same question
    twice. All parts of one answer use the same function, so their ids agree.
    """
    answer = secrets.token_hex(10)
    return lambda index: f"call_{answer}{index:04x}"


def without_tags(arguments_json: str) -> str:
    """The same JSON without tags or control tokens.

    Templates write arguments unchanged, and models recognise tags anywhere. JSON has ``<`` only inside strings, where
    it can be escaped as ``\\u003c``.
    """
    return re.sub(r"<(?=[|/a-z])", r"\\u003c", arguments_json)
