"""LlamaIndex's messages and tools -> what a :class:`~relay_core.Relay` takes. Stateless; the class is in ``llms.py``.

Text, tool calls and tool results travel; thinking of earlier turns and cache marks are left out, as every chat
template of a thinking model does. Images, audio, video and documents are refused: the models read text.
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
from relay_core.tools import assistant_message, call_entry, tool_message

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
        ConfigurationError: something is not a ``ChatMessage``; a block is not text; a tool's result without its call.
    """
    converted: list[dict[str, Any]] = []
    called: set[str | None] = set()
    for i, message in enumerate(messages):
        if not isinstance(message, ChatMessage):
            raise ConfigurationError(f"message {i} is a {type(message).__name__}: write a llama_index ChatMessage")
        role, content = ROLES[message.role], _text(message.blocks, f"message {i}")
        if role == "assistant":
            calls = tool_calls_of(message)
            called.update(call["id"] for call in calls)
            converted.append(assistant_message(content, calls))
        elif role == "tool":
            call_id = message.additional_kwargs.get("tool_call_id")
            if not called or (call_id is not None and None not in called and call_id not in called):
                raise ConfigurationError(
                    f"message {i} is the result of the tool call {call_id!r}, but no assistant message before it made "
                    "that call: give the assistant's message, with its ToolCallBlock, first"
                )
            converted.append(tool_message(content, call_id or ""))
        else:
            converted.append({"role": role, "content": content})
    return converted


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
    """An assistant message's tool calls, as chat templates take them.

    Read from its ``ToolCallBlock``s or, where there are none, from ``additional_kwargs["tool_calls"]`` in OpenAI's
    form, which older messages have.
    """
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    if blocks:
        return [call_entry(block.tool_call_id, block.tool_name, block.tool_kwargs) for block in blocks]
    older = [c if isinstance(c, dict) else c.model_dump() for c in message.additional_kwargs.get("tool_calls") or ()]
    return [call_entry(c.get("id"), c["function"]["name"], c["function"].get("arguments") or {}) for c in older]


def tool_schemas(tools: Sequence[BaseTool] | None) -> list[dict[str, Any]]:
    """The tools as JSON schemas, in OpenAI's form."""
    return [tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools or ()]
