"""Lone surrogates: Python strings may hold them, but no text that can be encoded does."""

from __future__ import annotations


def repair_surrogates(text: str) -> str:
    """``text`` with surrogate pairs joined to the character they mean, and lone surrogates as U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
