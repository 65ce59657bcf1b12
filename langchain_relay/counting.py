"""How many tokens messages have, as the student reads them: what ``trim_messages`` and its like count with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import BaseMessage, get_buffer_string

from langchain_relay.messages import to_prompt
from relay_core import portal
from relay_core.chat import Conversation, encode_text, render
from relay_core.engines.base import Engine
from relay_core.errors import ConfigurationError
from relay_core.tokenizer import Tokenizer


def tokenizer_of(student: Engine) -> Tokenizer:
    """The student's tokenizer; an endpoint is asked for it.

    Raises:
        ConfigurationError: only the endpoint has it.
    """
    if student.tokenizer is None:
        portal.run(student.start)
    if student.tokenizer is None:
        raise ConfigurationError(
            f"tokens cannot be counted here: only the endpoint of {student.spec} has its tokenizer; give it one "
            "(OpenAIEngine(..., tokenizer=)), or ChatRelay custom_get_token_ids="
        )
    return student.tokenizer


def count(tokenizer: Tokenizer, messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]]) -> int:
    """Tokens of the prompt that these messages make, the template's own among them.

    A part of a conversation that is none by itself (a tool's result without its call, nothing at all), such as
    ``trim_messages`` asks for, is counted message by message, as plain text.
    """
    try:
        return len(render(tokenizer, Conversation.of(to_prompt(messages), tools=tools)).token_ids)
    except ConfigurationError:
        return sum(len(encode_text(tokenizer, get_buffer_string([message]))) for message in messages)
