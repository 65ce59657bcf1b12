"""Answers that a limit cut: which limit it was, and whether the JSON in an answer is whole.

The frameworks complete JSON that is cut (LangChain when it parses a text, LlamaIndex when it streams an object), and
the completed value then looks as if the model had written all of it. The plugins check the JSON here first.
"""

from __future__ import annotations

import json
from typing import Any

from relay_core.events import FinishReason, RelayResult
from relay_core.settings import RelaySettings
from relay_core.transcript import Author

_DECODER = json.JSONDecoder(strict=False)  # small models write line breaks inside strings


def cut_by(result: RelayResult, settings: RelaySettings) -> str | None:
    """The limit that ended the answer, with its value, as in ``"max_tokens=60"``; ``None`` if no limit ended it.

    An answer may also end because the context of a model is full; the returned string then names ``max_tokens`` and the
    context.
    """
    if result.finish_reason is FinishReason.DEADLINE:
        return f"deadline_s={settings.deadline_s}"
    if result.finish_reason is not FinishReason.LENGTH:
        return None
    usage, most = result.usage, settings.max_teacher_tokens
    if usage.completion_tokens >= settings.max_tokens:
        return f"max_tokens={settings.max_tokens}"
    by_teacher = bool(result.segments) and result.segments[-1].author is Author.TEACHER
    if by_teacher and most is not None and usage.teacher_tokens >= most:
        return f"max_teacher_tokens={most}"
    return f"max_tokens={settings.max_tokens} (or the model's context)"


def cut_message(limit: str, what: str) -> str:
    """Return the error message: it names the limit that cut ``what`` (see :func:`cut_by`), and how to avoid that."""
    name = limit.partition("=")[0]
    return f"{limit} cut {what}: raise {name}, or bound the schema's fields (maxLength, maxItems, maximum, Literal)"


def whole_json(text: str) -> Any:
    """The JSON value that ``text`` begins with. Text after the value is ignored.

    Raises:
        json.JSONDecodeError: there is no value, or it is cut or broken.
    """
    try:
        return _DECODER.raw_decode(text.lstrip())[0]
    except RecursionError as error:
        raise json.JSONDecodeError(f"nested too deeply ({error})", text[:80], 0) from error
