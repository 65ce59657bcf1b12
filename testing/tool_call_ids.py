"""Ids of tool calls hold a random part; without it, two answers can be compared."""

from __future__ import annotations

import re
from typing import Any

_ID = re.compile(r"call_([0-9a-f]{20})([0-9a-f]{4})")


def without_random_ids(answer: Any) -> Any:
    """``answer``, made of lists, dicts and plain values, with the random part of its tool calls' ids cut out.

    All ids of one answer must have the same random part.
    """
    random_parts: set[str] = set()

    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: cut(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [cut(item) for item in value]
        if isinstance(value, str) and (parts := _ID.fullmatch(value)):
            random_parts.add(parts[1])
            return f"call_{parts[2]}"
        return value

    result = cut(answer)
    assert len(random_parts) <= 1, random_parts
    return result
