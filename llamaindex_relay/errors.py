"""Errors that only this package defines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from relay_core.errors import RelayError


class NoToolCall(RelayError, ValueError):
    """A tool call was required, but the answer holds no valid tool call."""


def no_tool_call(text: str, invalid_tool_calls: Iterable[Mapping[str, Any]]) -> NoToolCall:
    """The error for an answer without a valid tool call.

    Args:
        text: the answer's text.
        invalid_tool_calls: the answer's ``message.additional_kwargs["invalid_tool_calls"]``.
    """
    reasons = "; ".join(_reason(invalid["name"], invalid["error"]) for invalid in invalid_tool_calls)
    return NoToolCall(f"expected a tool call, {f'but {reasons}' if reasons else f'got {_shortened(text)!r}'}")


def _reason(name: str | None, error: str) -> str:
    if name is None:
        return f"the model wrote one without a readable name: {error}"
    return f"the model's call of {name!r} is broken: {error}"


def _shortened(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"
