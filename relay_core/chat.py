"""From messages to a prompt, by the model's own chat template.

The template is always the tokenizer's own; thinking is off unless it is requested. Control tokens within messages
(such as ``<|im_end|>`` in a user's text) are encoded as ordinary characters, so that no message can open another turn.

Supported roles: ``system``, ``user``, ``assistant`` (with ``tool_calls``), ``tool``. Content is a string; images,
audio and other parts are not supported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from relay_core.errors import ConfigurationError
from relay_core.tokenizer import Tokenizer

ROLES = ("system", "user", "assistant", "tool")
# Unicode noncharacters, which ordinary text does not contain. One of them marks where to split a control token.
_MARKS = [chr(c) for c in range(0xFDD0, 0xFDF0)]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A checked request: messages, the tools on offer, and the text with which the answer must begin (``prefix``)."""

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
        """Check a prompt.

        Args:
            prompt: a string (one user message), a list of messages, or a conversation.
            tools: tools on offer, in OpenAI's format; ``None`` keeps those of a given conversation.
            prefix: text with which the answer must begin; empty keeps that of a given conversation.

        Raises:
            ConfigurationError: the prompt is empty or malformed; the message says what to write instead.
        """
        if isinstance(prompt, Conversation):
            return replace(prompt, tools=tuple(tools or prompt.tools), prefix=prefix or prompt.prefix)
        if isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
        if not isinstance(prompt, Sequence):
            raise ConfigurationError(
                f"the prompt is a {type(prompt).__name__}: write a string, or a list of "
                '{"role": ..., "content": ...} messages'
            )
        if not prompt:
            raise ConfigurationError("the prompt is empty: write a string, or at least one message")
        messages = tuple(_check_message(i, message) for i, message in enumerate(prompt))
        if not any(m["content"].strip() or m.get("tool_calls") for m in messages):
            raise ConfigurationError("the prompt is empty: no message has any text")
        return cls(messages, tuple(tools or ()), prefix)


def _check_message(i: int, message: Any) -> dict[str, Any]:
    """The message with its content as a string; raises ConfigurationError if it is malformed."""
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
    """A prompt as text and as ids."""

    text: str
    token_ids: list[int]


def render(tokenizer: Tokenizer, conversation: Conversation) -> Rendered:
    """Apply the chat template, up to where the assistant's answer begins; ``conversation.prefix`` is not included.

    Raises:
        ConfigurationError: the tokenizer has no chat template, or the template rejects the messages.
    """
    if not getattr(tokenizer.hf, "chat_template", None):
        raise ConfigurationError(
            f"{tokenizer.name} has no chat template: put a chat_template.jinja beside tokenizer.json, or use an "
            "instruction-tuned model"
        )
    mark = _unused_mark([*conversation.messages, *conversation.tools])
    try:
        marked = tokenizer.hf.apply_chat_template(
            [_split_control_tokens(tokenizer, message, mark) for message in conversation.messages],
            tools=[_split_tokens(tool, tokenizer.control_tokens, mark) for tool in conversation.tools] or None,
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=conversation.enable_thinking,
        )
    except Exception as error:
        raise ConfigurationError(f"{tokenizer.name}'s chat template refuses these messages: {error}") from error
    pieces = str(marked).split(mark)
    ids = [token_id for i, piece in enumerate(pieces) for token_id in tokenizer.encode(piece, begins=not i)]
    return Rendered("".join(pieces), ids)


def renders_alike(a: Tokenizer, b: Tokenizer) -> bool:
    """Whether both render every conversation to the same ids: the same vocabulary, template and special tokens."""
    return a is b or (
        a.shares_vocabulary(b)
        and getattr(a.hf, "chat_template", None) == getattr(b.hf, "chat_template", None)
        and a.hf.special_tokens_map == b.hf.special_tokens_map
    )


def encode_text(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of text that the assistant wrote, as a continuation.

    Special tokens (``<|im_end|>``) are encoded as ordinary characters. ``<think>`` and ``<tool_call>``, which an
    assistant may write, are encoded as tokens.
    """
    if not any(token in text for token in tokenizer.special_tokens):
        return tokenizer.encode(text)
    mark = _unused_mark(text)
    marked = _split_tokens(text, tokenizer.special_tokens, mark)
    return [token_id for piece in marked.split(mark) for token_id in tokenizer.encode(piece)]


def _split_control_tokens(tokenizer: Tokenizer, message: Mapping[str, Any], mark: str) -> dict[str, Any]:
    """The message with every control token in it split by ``mark``.

    In an assistant's earlier text only special tokens are split, since the template looks for ``<think>`` and
    ``<tool_call>`` there.
    """
    written = ("content", "reasoning_content") if message["role"] == "assistant" else ()
    return {
        key: _split_tokens(value, tokenizer.special_tokens if key in written else tokenizer.control_tokens, mark)
        for key, value in message.items()
    }


def _split_tokens(value: Any, tokens: Sequence[str], mark: str) -> Any:
    """``value`` with ``mark`` after the first character of each of ``tokens`` in its strings."""
    if isinstance(value, str):
        for token in tokens:
            if len(token) > 1 and token in value:
                value = value.replace(token, token[0] + mark + token[1:])
        return value
    if isinstance(value, Mapping):
        return {_split_tokens(k, tokens, mark): _split_tokens(v, tokens, mark) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_split_tokens(v, tokens, mark) for v in value]
    return value


def _unused_mark(value: Any) -> str:
    """A noncharacter that no string within ``value`` contains."""
    used = {char for text in _strings(value) for char in _MARKS if char in text}
    mark = next((m for m in _MARKS if m not in used), None)
    if mark is None:
        raise ConfigurationError("the messages hold every Unicode noncharacter from U+FDD0 to U+FDEF")
    return mark


def _strings(value: Any) -> Iterator[str]:
    """Every string within ``value``."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _strings([*value.keys(), *value.values()])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)
