"""Turns messages into a prompt with the model's own chat template.

The template is always that of the tokenizer; thinking is off unless it is requested. Control tokens within messages
(such as ``<|im_end|>`` in a user's text) are encoded as ordinary characters, so that no message can open another turn.
The time of a template is limited, since a template that never ends would block the process.

Supported roles: ``system``, ``user``, ``assistant`` (with ``tool_calls``), ``tool``. Content is a string or text parts,
which are joined by newlines; images, audio and other parts are not supported. What a template cannot show as it is
given (tools, system messages) is written as ``template_messages.py`` says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from relay_core import time_limit
from relay_core.control_tokens import pieces, split_at, split_in_message, split_tokens, unused_mark
from relay_core.errors import ConfigurationError
from relay_core.refusal import refusal
from relay_core.template import check_template, template_of
from relay_core.template_messages import in_form, normalised, normalised_tool
from relay_core.tokenizer import LONG_TEXT, Tokenizer

ROLES = ("system", "user", "assistant", "tool")
_SEPARATOR = "\u200b"  # a zero-width space, which splits a control token in a text that a server encodes
TEMPLATE_S, CHARACTERS_PER_S = 10.0, 100_000  # a template may take 10 s, and 1 s more per 100,000 characters


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
        enable_thinking: bool = False,
    ) -> Conversation:
        """Check a prompt.

        Args:
            prompt: a string (one user message), a list of messages, or a conversation.
            tools: the tools on offer, in OpenAI's format; with ``None``, a conversation keeps its own tools.
            prefix: the text with which the answer must begin; if it is empty, a conversation keeps its own prefix.
            enable_thinking: whether the template lets the model think; a conversation may also request this itself.

        Raises:
            ConfigurationError: the prompt is empty or malformed; the message says what to write instead.
        """
        if isinstance(prompt, Conversation):
            return replace(
                prompt,
                tools=tuple(tools or prompt.tools),
                prefix=prefix or prompt.prefix,
                enable_thinking=enable_thinking or prompt.enable_thinking,
            )
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
        return cls(messages, tuple(tools or ()), prefix, enable_thinking)

    def instructed(self, instructions: str) -> Conversation:
        """The conversation with ``instructions`` at the end of its system message, which is added if it has none."""
        first, *rest = self.messages
        if first["role"] == "system":
            content = f"{first['content']}\n\n{instructions}" if first["content"].strip() else instructions
            return replace(self, messages=({**first, "content": content}, *rest))
        return replace(self, messages=({"role": "system", "content": instructions}, *self.messages))


def _check_message(i: int, message: Any) -> dict[str, Any]:
    """The message with its content as a string; raises ConfigurationError if it is malformed."""
    where = f"message {i}"
    if not isinstance(message, Mapping):
        raise ConfigurationError(f'{where} is a {type(message).__name__}: write {{"role": ..., "content": ...}}')
    role = message.get("role")
    if role not in ROLES:
        raise ConfigurationError(f"{where} has role {role!r}: write one of {', '.join(ROLES)}")
    _check_tool_calls(message.get("tool_calls"), where)
    content = message.get("content")
    if content is None and role == "assistant":
        content = ""
    if isinstance(content, (list, tuple)) and all(map(_is_text_part, content)):
        content = "\n".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise ConfigurationError(
            f"{where} has content of type {type(content).__name__}: write a string, or a list of "
            '{"type": "text", "text": ...} parts (images, audio and other parts are not supported)'
        )
    return {**message, "content": content}


def _is_text_part(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _check_tool_calls(tool_calls: Any, where: str) -> None:
    for call in tool_calls or ():
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise ConfigurationError(
                f"{where} has the tool call {call!r}: write "
                '{"id": ..., "type": "function", "function": {"name": ..., "arguments": ...}}'
            )


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt in three forms.

    ``text``: the text that ``token_ids`` spell exactly. ``guarded_text``: the text for a server that encodes it;
    control tokens inside a message are split by a zero-width space, so that the server also treats them as text.
    ``remarks``: the parts of the conversation that the template could not show in their given form, and how they were
    written instead.
    """

    text: str
    token_ids: list[int]
    guarded_text: str
    remarks: tuple[str, ...] = ()


def render(tokenizer: Tokenizer, conversation: Conversation) -> Rendered:
    """Apply the chat template, up to the beginning of the assistant's answer; ``conversation.prefix`` is not included.

    Raises:
        ConfigurationError: the tokenizer has no chat template, or the template rejects the messages or does not end in
            time (``TEMPLATE_S``).
    """
    if tokenizer.template_ends and _length(conversation) <= LONG_TEXT:
        return _encode_marked(tokenizer, _apply_template(tokenizer, conversation))
    try:
        marked = time_limit.call(partial(_apply_template, tokenizer, conversation), _limit_s(conversation))
    except time_limit.TimeIsUp as error:
        raise _no_end(tokenizer) from error
    tokenizer.template_ends = True
    return _encode_marked(tokenizer, marked)


async def render_async(tokenizer: Tokenizer, conversation: Conversation) -> Rendered:
    """:func:`render` without blocking the event loop, even if the messages are long or the template does not end.

    Short messages are rendered directly if the template has ended in time before, because a thread would take longer.
    """
    if tokenizer.template_ends and _length(conversation) <= LONG_TEXT:
        return render(tokenizer, conversation)
    limit_s = _limit_s(conversation)
    try:
        marked = await time_limit.call_async(partial(_apply_template, tokenizer, conversation), limit_s)
    except time_limit.TimeIsUp as error:
        raise _no_end(tokenizer) from error
    tokenizer.template_ends = True
    if len(marked.text) <= LONG_TEXT:
        return _encode_marked(tokenizer, marked)
    return await asyncio.to_thread(_encode_marked, tokenizer, marked)


async def encode_text_async(tokenizer: Tokenizer, text: str) -> list[int]:
    """:func:`encode_text` without blocking the event loop, however long the text."""
    return (
        encode_text(tokenizer, text)
        if len(text) <= LONG_TEXT
        else await asyncio.to_thread(encode_text, tokenizer, text)
    )


def _length(conversation: Conversation) -> int:
    """The number of characters of all messages."""
    return sum(len(message["content"]) for message in conversation.messages)


def _limit_s(conversation: Conversation) -> float:
    return TEMPLATE_S + _length(conversation) / CHARACTERS_PER_S + len(conversation.messages) / 1_000


def _no_end(tokenizer: Tokenizer) -> ConfigurationError:
    return ConfigurationError(
        f"{tokenizer.name}'s chat template did not end within {TEMPLATE_S:g} s: it may loop without end; use another "
        "model, or correct its chat_template.jinja"
    )


class _Marked(NamedTuple):
    """A rendered prompt with a mark in each control token inside a message; also the mark, and remarks."""

    text: str
    mark: str
    remarks: tuple[str, ...]


def _apply_template(tokenizer: Tokenizer, conversation: Conversation) -> _Marked:
    if not getattr(tokenizer.hf, "chat_template", None):
        check_template(tokenizer)
    template = template_of(tokenizer)
    roles = [message["role"] for message in conversation.messages]
    try:
        messages = normalised(conversation.messages)
        tools = [normalised_tool(tool) for tool in conversation.tools]
        mark = unused_mark([*messages, *tools])
        formed = in_form(
            template,
            [split_in_message(tokenizer, message, mark) for message in messages],
            [split_tokens(tool, tokenizer.control_tokens, mark) for tool in tools],
        )
        roles = [message["role"] for message in formed.messages]
        text = template.render(formed.messages, formed.tools, enable_thinking=conversation.enable_thinking)
    except (time_limit.TimeIsUp, ConfigurationError):
        raise
    except Exception as error:
        raise ConfigurationError(
            f"{tokenizer.name}'s chat template refuses these messages: {refusal(template, roles, error)}"
        ) from error
    return _Marked(text, mark, formed.remarks)


def _encode_marked(tokenizer: Tokenizer, marked: _Marked) -> Rendered:
    parts = split_at(marked.mark, marked.text)
    ids = [token_id for i, part in enumerate(parts) for token_id in tokenizer.encode(part, begins=not i)]
    return Rendered("".join(parts), ids, _SEPARATOR.join(parts), marked.remarks)


def renders_alike(a: Tokenizer, b: Tokenizer) -> bool:
    """Whether both render every conversation to the same ids: vocabulary, template and special tokens are equal."""
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
    parts = pieces(text, tokenizer.special_tokens)
    return [token_id for piece in parts for token_id in tokenizer.encode(piece)]


def guard_text(tokenizer: Tokenizer, text: str) -> str:
    """Text that the assistant wrote, for a server that encodes it; special tokens are split, so that they stay text."""
    return _SEPARATOR.join(pieces(text, tokenizer.special_tokens))
