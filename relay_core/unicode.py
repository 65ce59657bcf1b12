"""Replacement of characters that cannot be passed on unchanged: lone surrogates, which cannot be encoded, and control
characters."""

from __future__ import annotations


def repair_surrogates(text: str) -> str:
    """``text`` with surrogate pairs joined to the characters they encode, and lone surrogates replaced by U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def printable(text: str) -> str:
    """``text`` with lone surrogates and all control characters except tab and newline replaced by U+FFFD.

    A model can write escape sequences, which would move a terminal's cursor, and characters that XML forbids.
    """
    repaired = repair_surrogates(text)
    return "".join("\ufffd" if _is_control(character) else character for character in repaired)


def _is_control(character: str) -> bool:
    code = ord(character)
    return (code < 32 and character not in "\n\t") or 127 <= code < 160 or code in (0xFFFE, 0xFFFF)
