"""Messages -> a prompt in a given model's own template.

The template is always the tokenizer's own, with thinking off unless asked for. What a user or a tool wrote is
text: control tokens in it (``<|im_end|>``) are encoded as the characters they are, so they open no second turn.

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
    mark = _unused_mark([*conversation.messages, *conversation.tools])
    try:
        marked = tokenizer.hf.apply_chat_template(
            [_as_text(tokenizer, message, mark) for message in conversation.messages],
            tools=[_broken(tool, tokenizer.control_tokens, mark) for tool in conversation.tools] or None,
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
    """Whether both make the same prompt of the same conversation: one vocabulary, one template."""
    return a is b or (
        a.shares_vocabulary(b)
        and getattr(a.hf, "chat_template", None) == getattr(b.hf, "chat_template", None)
        and a.hf.special_tokens_map == b.hf.special_tokens_map
    )


def encode_text(tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids of the assistant's words, within a text. Special tokens in them are text; ``<think>`` and ``<tool_call>``,
    which an assistant may write, are the tokens that they are."""
    if not any(token in text for token in tokenizer.special_tokens):
        return tokenizer.encode(text)
    mark = _unused_mark(text)
    marked = _broken(text, tokenizer.special_tokens, mark)
    return [token_id for piece in marked.split(mark) for token_id in tokenizer.encode(piece)]


def _as_text(tokenizer: Tokenizer, message: Mapping[str, Any], mark: str) -> dict[str, Any]:
    """The message with every control token in it broken.

    An assistant's own earlier words may hold ``<think>`` or ``<tool_call>``, which the template looks for: only
    the special ones are broken there.
    """
    own = ("content", "reasoning_content") if message["role"] == "assistant" else ()
    return {
        key: _broken(value, tokenizer.special_tokens if key in own else tokenizer.control_tokens, mark)
        for key, value in message.items()
    }


def _broken(value: Any, tokens: Sequence[str], mark: str) -> Any:
    """``value`` with ``mark`` behind the first character of each of ``tokens`` in its strings, so that none is read
    as one."""
    if isinstance(value, str):
        for token in tokens:
            if len(token) > 1 and token in value:
                value = value.replace(token, token[0] + mark + token[1:])
        return value
    if isinstance(value, Mapping):
        return {_broken(k, tokens, mark): _broken(v, tokens, mark) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_broken(v, tokens, mark) for v in value]
    return value


def _unused_mark(value: Any) -> str:
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
