"""Converts LlamaIndex's messages and tools into messages and schemas that a chat template renders.

Text, tool calls and tool results are converted. Cache marks are left out. Earlier thinking is left out, too, because
the chat templates of thinking models also leave it out. Images, audio, video and documents are refused, because the
models read only text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    ContentBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from relay_core.errors import ConfigurationError
from relay_core.tools import assistant_message, tool_call_entry, tool_message

if TYPE_CHECKING:
    from llama_index.core.tools.types import BaseTool

ROLES = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}
SUPPORTED = "text, citations of text, tool calls and tool results"


def from_llamaindex(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """``{"role", "content"}`` messages for :meth:`relay_core.Relay.generate`.

    Raises:
        ConfigurationError: a message is not a ``ChatMessage``, a block is not text, or a tool's result has no matching
            tool call.
    """
    converted: list[dict[str, Any]] = []
    tool_call_ids: set[str | None] = set()
    for i, message in enumerate(messages):
        if not isinstance(message, ChatMessage):
            raise ConfigurationError(f"message {i} is a {type(message).__name__}: write a llama_index ChatMessage")
        role, content = ROLES[message.role], _text(message.blocks, f"message {i}")
        if role == "assistant":
            tool_calls = tool_calls_of(message)
            tool_call_ids.update(tool_call["id"] for tool_call in tool_calls)
            converted.append(assistant_message(content, tool_calls))
        elif role == "tool":
            tool_call_id = message.additional_kwargs.get("tool_call_id")
            if not _is_known(tool_call_id, tool_call_ids):
                raise ConfigurationError(
                    f"message {i} is the result of the tool call {tool_call_id!r}, but no assistant message before it "
                    "made that call: give the assistant's message, with its ToolCallBlock, first"
                )
            converted.append(tool_message(content, tool_call_id or ""))
        else:
            converted.append({"role": role, "content": content})
    return converted


def _is_known(tool_call_id: str | None, tool_call_ids: set[str | None]) -> bool:
    """Whether a tool's result can belong to an earlier tool call. If either has no id, they match."""
    if tool_call_id is None or None in tool_call_ids:
        return bool(tool_call_ids)
    return tool_call_id in tool_call_ids


def _text(blocks: Iterable[ContentBlock], where: str) -> str:
    """The text of a message, its blocks joined as ``ChatMessage.content`` joins them."""
    texts: list[str] = []
    for block in blocks:
        if isinstance(block, TextBlock):
            texts.append(block.text)
        elif isinstance(block, CitableBlock):
            texts.append(_text(block.content, where))
        elif isinstance(block, CitationBlock):
            texts.append(_text([block.cited_content], where))
        elif not isinstance(block, (ToolCallBlock, ThinkingBlock, CachePoint)):
            raise ConfigurationError(f"{where} holds a {type(block).__name__}: supported are {SUPPORTED}")
    return "\n".join(texts)


def tool_calls_of(message: ChatMessage) -> list[dict[str, Any]]:
    """The tool calls of an assistant message, in the form for chat templates.

    Messages of older LlamaIndex versions have no ``ToolCallBlock``; their tool calls are in
    ``additional_kwargs["tool_calls"]``, in OpenAI's form.
    """
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    if blocks:
        return [tool_call_entry(block.tool_call_id, block.tool_name, block.tool_kwargs) for block in blocks]
    entries: list[dict[str, Any]] = [
        entry if isinstance(entry, dict) else entry.model_dump()
        for entry in message.additional_kwargs.get("tool_calls") or ()
    ]
    return [
        tool_call_entry(entry.get("id"), entry["function"]["name"], entry["function"].get("arguments") or {})
        for entry in entries
    ]


def tool_schemas(tools: Sequence[BaseTool] | None) -> list[dict[str, Any]]:
    """The tools as JSON schemas, in OpenAI's form."""
    return [tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools or ()]
