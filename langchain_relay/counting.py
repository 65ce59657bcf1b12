"""Counts the tokens of messages with the student's tokenizer, for ``trim_messages`` and similar functions."""

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
    """The student's tokenizer; starts the engine if it has no tokenizer yet.

    Raises:
        ConfigurationError: the student is an endpoint whose tokenizer is not available on this machine.
    """
    if student.tokenizer is None:
        portal.run(student.start)
    if student.tokenizer is None:
        raise ConfigurationError(
            f"tokens cannot be counted here: the tokenizer of {student.spec} is not on this machine; write "
            "OpenAIEngine(..., tokenizer=), or pass custom_get_token_ids= to ChatRelay"
        )
    return student.tokenizer


def count(tokenizer: Tokenizer, messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]]) -> int:
    """The number of tokens of the prompt made of ``messages``, including those of the chat template.

    ``trim_messages`` also counts parts of a conversation that are not a valid prompt, such as a tool's result without
    its tool call, or an empty list. Their messages are counted one by one, as plain text.
    """
    try:
        return len(render(tokenizer, Conversation.of(to_prompt(messages), tools=tools)).token_ids)
    except ConfigurationError:
        return sum(len(encode_text(tokenizer, get_buffer_string([message]))) for message in messages)
