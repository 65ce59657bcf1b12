r"""The structure of an answer: tuples, intervals, sets, lists, unions, matrices; and what is on both sides of `=`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from relay_core.evaluate.grading.quantity import GROUPED

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|.", re.DOTALL)
_OPEN = {"(", "[", "{", "\\{"}
_CLOSE = {")", "]", "}", "\\}"}
_MATRIX = re.compile(r"\\begin\{([pbvBV]?matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}", re.DOTALL)


class Kind(StrEnum):
    """How the elements of an answer belong together. A tuple's brackets are the value: `()`, `[]`, `[)`, `(]`."""

    LIST = ","
    SET = "{}"
    UNION = "∪"
    TUPLE = "()"
    CLOSED = "[]"
    LEFT_CLOSED = "[)"
    RIGHT_CLOSED = "(]"
    MATRIX = "matrix"

    @property
    def ordered(self) -> bool:
        """Whether the order of the elements counts."""
        return self not in (Kind.LIST, Kind.SET, Kind.UNION)


_BRACKETS = {str(kind): kind for kind in Kind if len(kind) == 2}


@dataclass(frozen=True, slots=True)
class Group:
    """Several elements, each as text. A matrix's elements are its entries; ``shape`` is its rows and columns."""

    kind: Kind
    elements: tuple[str, ...]
    shape: tuple[int, int] | None = None


def group(answer: str, *, split_thousands: bool = False) -> Group | None:
    """The elements of an answer in normal notation; ``None`` if it is a single one.

    Args:
        split_thousands: whether 1,000 is a list of two numbers.
    """
    answer = answer.strip()
    matrix = _MATRIX.fullmatch(answer)
    if matrix is not None:
        rows = [row.split("&") for row in matrix[2].split("\\\\") if row.strip()]
        entries = tuple(entry.strip() for row in rows for entry in row)
        return Group(Kind.MATRIX, entries, (len(rows), len(rows[0]) if rows else 0))
    parts = split(answer, "\\cup")
    if len(parts) > 1:
        return Group(Kind.UNION, tuple(parts))
    if split_thousands or not GROUPED.fullmatch(answer):
        parts = split(answer, ",", ";")
        if len(parts) > 1:
            return Group(Kind.LIST, _both_signs(parts))
    inner = _inside(answer)
    if inner is not None:
        kind, content = inner
        parts = split(content, ",", ";")
        if kind is Kind.SET:
            return Group(kind, _both_signs(parts) if content.strip() else ())
        if len(parts) > 1:
            return Group(kind, tuple(parts))
    signs = _both_signs([answer])
    return Group(Kind.LIST, signs) if len(signs) > 1 else None


def unwrapped(answer: str) -> str:
    """The answer without round brackets around the whole of it."""
    inner = _inside(answer)
    return answer if inner is None or inner[0] is not Kind.TUPLE else inner[1].strip()


def sides(answer: str) -> tuple[str, str] | None:
    """What is before the first and after the last `=`; ``None`` without one, or if it is a list of equations."""
    parts = split(answer, "=")
    if len(parts) == 1 or (len(parts) > 2 and len(split(answer, ",", ";")) > 1):
        return None
    return parts[0], parts[-1]


def split(text: str, *separators: str) -> list[str]:
    """The parts between separators that are outside of all brackets."""
    parts, depth, begin = [], 0, 0
    for token, start, end in _tokens(text):
        depth += (token in _OPEN) - (token in _CLOSE)
        if depth == 0 and token in separators:
            parts.append(text[begin:start].strip())
            begin = end
    return [*parts, text[begin:].strip()]


def _inside(text: str) -> tuple[Kind, str] | None:
    """The kind and the content of brackets around the whole text."""
    tokens = list(_tokens(text))
    if len(tokens) < 2 or tokens[0][0] not in _OPEN - {"{"} or tokens[-1][0] not in _CLOSE - {"}"}:
        return None
    depth = 0
    for token, _, end in tokens:
        depth += (token in _OPEN) - (token in _CLOSE)
        if depth == 0 and end < len(text):
            return None
    brackets = (tokens[0][0] + tokens[-1][0]).replace("\\", "")
    if depth or brackets not in _BRACKETS:
        return None
    return _BRACKETS[brackets], text[tokens[0][2] : tokens[-1][1]]


def _tokens(text: str) -> Iterator[tuple[str, int, int]]:
    return ((match.group(), *match.span()) for match in _TOKEN.finditer(text))


def _both_signs(parts: list[str]) -> tuple[str, ...]:
    r"""Each element with `\pm` becomes two."""
    both: list[str] = []
    for part in parts:
        if "\\pm" in part:
            both.append(part.replace("\\pm", "+").replace("\\mp", "-").removeprefix("+").strip())
            both.append(part.replace("\\pm", "-").replace("\\mp", "+").strip())
        else:
            both.append(part)
    return tuple(both)
