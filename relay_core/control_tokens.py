"""Splits control tokens inside messages, so that they are encoded as text and no message can open another turn.

Before the chat template is applied, a mark is inserted after the first character of each such token. The rendered text
is then split at the marks, and its parts are encoded separately.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from relay_core.tokenizer import Tokenizer

# Unicode noncharacters, which ordinary text does not contain. One of them marks where to split a control token.
_MARKS = [chr(c) for c in range(0xFDD0, 0xFDF0)]
# text that an assistant wrote, in which the template looks for tags such as <think>
_WRITTEN = ("content", "reasoning", "reasoning_content")


def split_in_message(tokenizer: Tokenizer, message: Mapping[str, Any], mark: str) -> dict[str, Any]:
    """The message with every control token in it split by ``mark``.

    In earlier text of the assistant, only special tokens are split, since the template looks for ``<think>`` and
    ``<tool_call>`` there.
    """
    written = _WRITTEN if message["role"] == "assistant" else ()
    return {
        key: split_tokens(value, tokenizer.special_tokens if key in written else tokenizer.control_tokens, mark)
        for key, value in message.items()
    }


def split_tokens(value: Any, tokens: Sequence[str], mark: str) -> Any:
    """``value`` with ``mark`` after the first character of each of ``tokens`` in its strings."""
    if isinstance(value, str):
        return mark.join(pieces(value, tokens))
    if isinstance(value, Mapping):
        return {split_tokens(k, tokens, mark): split_tokens(v, tokens, mark) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [split_tokens(v, tokens, mark) for v in value]
    return value


def pieces(text: str, tokens: Sequence[str]) -> list[str]:
    """``text``, cut after the first character of each of ``tokens``, so that no piece contains one of them."""
    parts = [text]
    for token in tokens:
        if len(token) > 1 and token in text:
            parts = [part for piece in parts for part in _cut(piece, token)]
    return parts


def _cut(text: str, token: str) -> Iterator[str]:
    start = 0
    while (found := text.find(token, start)) >= 0:
        yield text[start : found + 1]
        start = found + 1
    yield text[start:]


def unused_mark(value: Any) -> str:
    """A noncharacter that no string in ``value`` contains; if all are used, a longer text of noncharacters."""
    used: set[str] = set()
    for text in strings(value):
        used.update(mark for mark in _MARKS if mark in text)
        if "\\ufd" in text:
            used.update(mark for mark in _MARKS if _escaped(mark) in text)
    for mark in _MARKS:
        if mark not in used:
            return mark
    return f"{_MARKS[0]}{secrets.token_hex(16)}{_MARKS[0]}"


def split_at(mark: str, rendered: str) -> list[str]:
    """The pieces of ``rendered`` between the marks. A template may have written them as JSON, in ASCII."""
    return rendered.replace(_escaped(mark), mark).split(mark)


def _escaped(mark: str) -> str:
    return json.dumps(mark)[1:-1]


def strings(value: Any) -> Iterator[str]:
    """Every string within ``value``."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from strings([*value.keys(), *value.values()])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from strings(item)
