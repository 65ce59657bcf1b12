"""A table as plain text, and shares with their intervals in its cells."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, columns aligned: the first to the left, the others to the right.

    Args:
        lines: the cells of each line; all lines have the same number.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    ]


def in_per_cent(share: float, interval: tuple[float, float]) -> str:
    """A share with its interval, such as ``33.3 (19-51)``; small intervals get a decimal."""
    low, high = (100 * bound for bound in interval)
    digits = 0 if high >= 10 else 1
    return f"{100 * share:.1f} ({low:.{digits}f}-{high:.{digits}f})"
