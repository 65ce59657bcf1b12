"""LangChain's messages -> the messages that a chat template renders. Holds no state, knows no model.

Supported: system, human, AI (with tool calls) and tool messages, and chat messages of those roles; their content is
text, as a string or as text blocks. Of an AI message's other blocks, calls are taken from ``tool_calls`` and earlier
reasoning is left out, as the models' own templates do.
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
# blocks of an AI message that say nothing which tool_calls does not, and reasoning
_SILENT = frozenset(
    {"tool_use", "tool_call", "tool_call_chunk", "invalid_tool_call", "function_call"}
    | {"reasoning", "thinking", "redacted_thinking"}
)


class MessageError(ConfigurationError, LangChainException):
    """A message that cannot be put to the models."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.MESSAGE_COERCION_FAILURE) -> None:
        super().__init__(create_message(message=message, error_code=code))


def to_prompt(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """``messages`` as ``{"role", "content"}`` and, where there are any, ``tool_calls`` and ``tool_call_id``.

    Raises:
        MessageError: a kind of message or content that is not supported, or a tool's result without its call.
    """
    prompt: list[dict[str, Any]] = []
    known_calls: set[str] = set()
    for i, message in enumerate(messages):
        where = f"message {i} ({type(message).__name__})"
        if isinstance(message, AIMessage):
            known_calls |= {c["id"] for c in (*message.tool_calls, *message.invalid_tool_calls) if c["id"]}
            prompt.append(_assistant(message, where))
        elif isinstance(message, ToolMessage):
            if message.tool_call_id not in known_calls:
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
    content = _text(message.content, where, silent=_SILENT)
    calls = [tools.call_entry(call["id"], call["name"], call["args"]) for call in message.tool_calls]
    for broken in message.invalid_tool_calls:
        if broken["name"]:
            calls.append(tools.call_entry(broken["id"], broken["name"], broken["args"] or ""))
        else:
            content += broken["args"] or ""
    return tools.assistant_message(content, calls)


def _result(message: ToolMessage, where: str) -> str:
    """What the tool said; that it failed is said in the text, for the template knows no status."""
    text = _text(message.content, where)
    failed = message.status == "error" and not text.lower().startswith("error")
    return f"Error: {text}" if failed else text


def _text(content: str | list[str | dict[str, Any]], where: str, silent: frozenset[str] = frozenset()) -> str:
    if isinstance(content, str):
        return content
    parts: list[str] = []
    for block in content:
        kind = "text" if isinstance(block, str) else str(block.get("type", "text" if "text" in block else None))
        text = block if isinstance(block, str) else block.get("text")
        if kind == "text" and isinstance(text, str):
            parts.append(text)
        elif kind not in silent:
            raise MessageError(
                f"{where} has content of type {kind!r}: write text (images, audio, video and files are not supported)"
            )
    return "".join(parts)
