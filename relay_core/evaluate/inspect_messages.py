"""Converts Inspect's messages and tools into ours, and an answer into Inspect's message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from relay_core.errors import ConfigurationError
from relay_core.events import RelayResult
from relay_core.tool_parser import parse_answer
from relay_core.tools import Offer, assistant_message, offer, tool_call_entry, tool_call_ids, tool_message

_OMITTED = frozenset({"reasoning"})  # the models' own templates leave out earlier reasoning, too


def messages_of(conversation: Sequence[Any]) -> list[dict[str, Any]]:
    """Inspect's ``ChatMessage`` objects as messages for a chat template.

    Raises:
        ConfigurationError: a message has content that is no text, such as an image.
    """
    messages: list[dict[str, Any]] = []
    for number, message in enumerate(conversation):
        text = _text(message, number)
        if message.role == "assistant":
            entries = [tool_call_entry(call.id, call.function, call.arguments) for call in message.tool_calls or ()]
            messages.append(assistant_message(text, entries))
        elif message.role == "tool":
            text = message.error.message if message.error is not None else text
            messages.append(tool_message(text, message.tool_call_id or ""))
        else:
            messages.append({"role": message.role, "content": text})
    return messages


def _text(message: Any, number: int) -> str:
    if not isinstance(message.content, str):
        for part in message.content:
            if part.type != "text" and part.type not in _OMITTED:
                raise ConfigurationError(
                    f"message {number} ({message.role}) has content of the type {part.type!r}: a relay reads text only"
                )
    text: str = message.text
    return text


def offer_of(tools: Sequence[Any], tool_choice: Any) -> Offer:
    """Inspect's ``ToolInfo`` objects and its ``tool_choice`` as our offer.

    Raises:
        ConfigurationError: the choice names a tool that is not on offer.
    """
    if not tools:
        return offer(None)
    choice = tool_choice if isinstance(tool_choice, str) or tool_choice is None else tool_choice.name
    return offer(
        [tool.model_dump(include={"name", "description", "parameters"}, exclude_none=True) for tool in tools], choice
    )


def answer_message(result: RelayResult, offered: Offer, *, model: str) -> Any:
    """An answer as a ``ChatMessageAssistant``; a tool call that cannot be read says why in its ``parse_error``."""
    from inspect_ai.model import ChatMessageAssistant
    from inspect_ai.tool import ToolCall

    if not offered.tools:
        return ChatMessageAssistant(content=result.text, model=model, source="generate")
    names = [tool["function"]["name"] for tool in offered.tools]
    parsed = parse_answer(offered.prefix + result.text, tool_call_ids(), names)
    calls = [ToolCall(id=call.id, function=call.name, arguments=call.arguments) for call in parsed.tool_calls]
    calls += [
        ToolCall(id=call.id, function=call.name or "unknown", arguments={}, parse_error=call.error)
        for call in parsed.invalid_tool_calls
    ]
    return ChatMessageAssistant(content=parsed.content, tool_calls=calls or None, model=model, source="generate")
