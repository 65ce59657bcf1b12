"""Errors that only this package defines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from relay_core.adapters.cut_answers import cut_message, whole_json
from relay_core.errors import RelayError


class NoToolCall(RelayError, ValueError):
    """A tool call was required, but the answer holds no valid tool call."""


class CutAnswer(RelayError, ValueError):
    """An object was to be read from the answer's text, but a limit cut the text before its JSON was whole."""


def no_tool_call(text: str, invalid_tool_calls: Iterable[Mapping[str, Any]]) -> NoToolCall:
    """The error for an answer without a valid tool call.

    Args:
        text: the answer's text.
        invalid_tool_calls: the answer's ``message.additional_kwargs["invalid_tool_calls"]``.
    """
    reasons = "; ".join(_reason(invalid["name"], invalid["error"]) for invalid in invalid_tool_calls)
    if reasons:
        return NoToolCall(f"expected a tool call, but {reasons}")
    return NoToolCall(
        f"expected a tool call, got {_shortened(text)!r}: write tool_required=True to force one, or "
        "error_on_no_tool_call=False to accept an answer without one"
    )


def check_json(text: str, limit: str) -> None:
    """Check that the JSON in a text that ``limit`` ended is whole.

    Raises:
        CutAnswer: it is not.
    """
    try:
        whole_json(text[max(text.find("{"), 0) :])
    except ValueError as error:
        what = f"the answer before its JSON was whole ({error})"
        raise CutAnswer(f"{cut_message(limit, what)}. The answer: {_shortened(text)!r}") from error


def _reason(name: str | None, error: str) -> str:
    if name is None:
        return f"the model wrote one without a readable name: {error}"
    return f"the model's call of {name!r} is broken: {error}"


def _shortened(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"
