"""Messages -> a prompt in a given model's own template.

The template is always the tokenizer's own, with thinking off unless asked for. What a user or a tool wrote is
text: control tokens in it (``<|im_end|>``) are encoded as the characters they are, so they open no second turn.

Supported roles: ``system``, ``user``, ``assistant`` (with ``tool_calls``), ``tool``. Content is a string; images,
audio and other parts are not supported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relay_core.errors import ConfigurationError
from relay_core.tokenizer import Tokenizer

ROLES = ("system", "user", "assistant", "tool")
# Noncharacters: no text that means anything holds them, so one can mark where control tokens are to be broken.
_MARKS = [chr(c) for c in range(0xFDD0, 0xFDF0)]


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is asked: checked messages, the tools on offer, and text with which the answer must begin."""

    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    prefix: str = ""
    enable_thinking: bool = False

    @classmethod
    def of(
        cls,
        prompt: str | Sequence[Mapping[str, Any]] | Conversation,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        prefix: str = "",
    ) -> Conversation:
        """Check a prompt: a string (one user message) or a list of messages.

        Raises:
            ConfigurationError: what is wrong with it, and what to write instead.
        """
        if isinstance(prompt, Conversation):
            return prompt
        if isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
        if not isinstance(prompt, Sequence):
            raise ConfigurationError(
                f"the prompt is a {type(prompt).__name__}: write a string, or a list of "
                '{"role": ..., "content": ...} messages'
            )
        if not prompt:
            raise ConfigurationError("the prompt is empty: write a string, or at least one message")
        messages = tuple(_checked(i, message) for i, message in enumerate(prompt))
        if not any(m["content"].strip() or m.get("tool_calls") for m in messages):
            raise ConfigurationError("the prompt is empty: no message has any text")
        return cls(messages, tuple(tools or ()), prefix)


def _checked(i: int, message: Any) -> dict[str, Any]:
    where = f"message {i}"
    if not isinstance(message, Mapping):
        raise ConfigurationError(f'{where} is a {type(message).__name__}: write {{"role": ..., "content": ...}}')
    role = message.get("role")
    if role not in ROLES:
        raise ConfigurationError(f"{where} has role {role!r}: write one of {', '.join(ROLES)}")
    content = message.get("content")
    if content is None and message.get("tool_calls"):
        content = ""
    if not isinstance(content, str):
        raise ConfigurationError(
            f"{where} has content of type {type(content).__name__}: write a string (images, audio and other "
            "parts are not supported)"
        )
    return {**message, "content": content}


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt as text and as ids; control tokens in the contents are text in both."""

    text: str
    token_ids: list[int]


def render(tokenizer: Tokenizer, conversation: Conversation) -> Rendered:
    """The prompt up to where the assistant begins (``conversation.prefix`` not included).

    Raises:
        ConfigurationError: the tokenizer has no chat template, or the template refuses the messages.
    """
    if not getattr(tokenizer.hf, "chat_template", None):
        raise ConfigurationError(
            f"{tokenizer.name} has no chat template: put a chat_template.jinja beside tokenizer.json, or use an "
            "instruction-tuned model"
        )
    mark = _unused_mark(conversation)
    messages = [_broken_up(tokenizer, dict(m), mark) for m in conversation.messages]
    try:
        marked = tokenizer.hf.apply_chat_template(
            messages,
            tools=[dict(t) for t in conversation.tools] or None,
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=conversation.enable_thinking,
        )
    except Exception as error:
        raise ConfigurationError(f"{tokenizer.name}'s chat template refuses these messages: {error}") from error
    pieces = str(marked).split(mark)
    ids = [token_id for piece in pieces for token_id in tokenizer.encode(piece)]
    return Rendered("".join(pieces), ids)


def encode_text(tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids of text that somebody wrote: control tokens in it are text."""
    if not any(token in text for token in tokenizer.control_tokens):
        return tokenizer.encode(text)
    mark = next(m for m in _MARKS if m not in text)
    marked = _break_tokens(tokenizer, text, mark)
    return [token_id for piece in marked.split(mark) for token_id in tokenizer.encode(piece)]


def _unused_mark(conversation: Conversation) -> str:
    everything = repr(conversation.messages)
    contents = "".join(m["content"] for m in conversation.messages)
    for mark in _MARKS:
        if mark not in contents and mark not in everything:
            return mark
    raise ConfigurationError("the messages hold every Unicode noncharacter from U+FDD0 to U+FDEF")


def _broken_up(tokenizer: Tokenizer, message: dict[str, Any], mark: str) -> dict[str, Any]:
    if message["content"]:
        own_words = message["role"] == "assistant"
        message["content"] = _break_tokens(tokenizer, message["content"], mark, special_only=own_words)
    return message


def _break_tokens(tokenizer: Tokenizer, text: str, mark: str, *, special_only: bool = False) -> str:
    """Put ``mark`` behind the first character of every control token, so that none is read as one.

    An assistant's own earlier words may hold ``<think>`` or ``<tool_call>``, which the template looks for: only
    the special ones are broken there.
    """
    for token in tokenizer.control_tokens:
        if special_only and tokenizer.hf.convert_tokens_to_ids(token) not in tokenizer.special_ids:
            continue
        if len(token) > 1 and token in text:
            text = text.replace(token, token[0] + mark + token[1:])
    return text
