"""Converts LangChain's messages into messages that a chat template renders.

System, human, AI and tool messages are supported, and chat messages with these roles. Their content must be text: a
string or text blocks. The tool calls of an AI message are read from its ``tool_calls``, not from its blocks. Its
reasoning blocks are left out, because the models' own templates also leave out earlier reasoning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.exceptions import ErrorCode, LangChainException, create_message
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from relay_core import tools
from relay_core.errors import ConfigurationError

SUPPORTED = "SystemMessage, HumanMessage, AIMessage, ToolMessage, or a ChatMessage of one of these roles"
_ROLES = {"system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant"}
_ROLES |= {"ai": "assistant"}
# blocks of an AI message that are left out: tool calls (which are read from tool_calls) and reasoning
_OMITTED_BLOCKS = frozenset(
    {"tool_use", "tool_call", "tool_call_chunk", "invalid_tool_call", "function_call"}
    | {"reasoning", "thinking", "redacted_thinking"}
)


class MessageError(ConfigurationError, LangChainException):
    """A message cannot be converted; the error has both our class and LangChain's."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.MESSAGE_COERCION_FAILURE) -> None:
        super().__init__(create_message(message=message, error_code=code))


def to_prompt(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """``messages`` as dicts with ``role``, ``content`` and, if applicable, ``tool_calls`` and ``tool_call_id``.

    Raises:
        MessageError: a kind of message or content is not supported, or a tool's result has no matching tool call.
    """
    prompt: list[dict[str, Any]] = []
    tool_call_ids: set[str] = set()
    for i, message in enumerate(messages):
        where = f"message {i} ({type(message).__name__})"
        if isinstance(message, AIMessage):
            tool_calls = (*message.tool_calls, *message.invalid_tool_calls)
            tool_call_ids |= {tool_call["id"] for tool_call in tool_calls if tool_call["id"]}
            prompt.append(_assistant(message, where))
        elif isinstance(message, ToolMessage):
            if message.tool_call_id not in tool_call_ids:
                raise MessageError(
                    f"{where} answers the call {message.tool_call_id!r}, which no AIMessage before it has made",
                    ErrorCode.INVALID_TOOL_RESULTS,
                )
            prompt.append(tools.tool_message(_result(message, where), message.tool_call_id))
        elif (role := _role(message)) is not None:
            prompt.append({"role": role, "content": _text(message.content, where)})
        else:
            raise MessageError(f"{where} is not supported: write {SUPPORTED}")
    return prompt


def _role(message: BaseMessage) -> str | None:
    if isinstance(message, HumanMessage):
        return "user"
    if isinstance(message, SystemMessage):
        return "system"
    return _ROLES.get(message.role) if isinstance(message, ChatMessage) else None


def _assistant(message: AIMessage, where: str) -> dict[str, Any]:
    content = _text(message.content, where, omitted=_OMITTED_BLOCKS)
    tool_calls = [tools.tool_call_entry(call["id"], call["name"], call["args"]) for call in message.tool_calls]
    for invalid in message.invalid_tool_calls:
        if invalid["name"]:
            tool_calls.append(tools.tool_call_entry(invalid["id"], invalid["name"], invalid["args"] or ""))
        else:  # the args of an invalid tool call are the whole text that the model wrote
            content += invalid["args"] or ""
    return tools.assistant_message(content, tool_calls)


def _result(message: ToolMessage, where: str) -> str:
    """The tool's result. A failure is stated in the text, because chat templates do not show a status."""
    text = _text(message.content, where)
    failed = message.status == "error" and not text.lower().startswith("error")
    return f"Error: {text}" if failed else text


def _text(content: str | list[str | dict[str, Any]], where: str, omitted: frozenset[str] = frozenset()) -> str:
    if isinstance(content, str):
        return content
    parts: list[str] = []
    for block in content:
        kind = "text" if isinstance(block, str) else str(block.get("type", "text" if "text" in block else None))
        text = block if isinstance(block, str) else block.get("text")
        if kind == "text" and isinstance(text, str):
            parts.append(text)
        elif kind not in omitted:
            raise MessageError(
                f"{where} has content of type {kind!r}: write text (images, audio, video and files are not supported)"
            )
    return "".join(parts)
