r"""Whether two expressions are equal, by their values; only the grading process imports what this needs.

Two expressions without relations are equal if their values are, in 30 digits, at several values of their variables;
math-verify reads them. Equations and inequalities are compared by math-verify.
"""

from __future__ import annotations

import re
from typing import Any

DIGITS = 30
_AGREE = 1e-12  # the relative difference of equal values
_LEAST = 1e-20  # below it, two values are compared by simplification
#: values of the variables: none is special, and half of them are negative
_PLACES = (("1.3819", "0.2207"), ("-0.7351", "0.1743"), ("2.6173", "-0.3319"))
_LETTER = re.compile(r"\\([A-Za-z]+)|([A-Za-z])(?:_\{([^{}]*)\}|_([A-Za-z0-9]))?")


_CONSTANTS = {"E", "I"}  # math-verify reads neither E_{1} nor e_{1}, and I as the imaginary unit


def equal(right: str, found: str, tolerance: float) -> bool:
    """Whether two expressions are equal.

    Raises:
        ValueError: the right one cannot be read.
    """
    from math_verify import verify
    from sympy import Expr

    right, found = _distinct(right, found)
    expected, other = _parsed(right), _parsed(found)
    if expected is None:
        raise ValueError(f"math-verify cannot read the right answer {right!r}")
    if other is None:
        return False
    if isinstance(expected, Expr) and isinstance(other, Expr):
        decided = _same_values(expected, other, tolerance)
        if decided is not None:
            return decided
    return bool(verify(expected, other, timeout_seconds=None, allow_set_relation_comp=True))


def _parsed(latex: str) -> Any:
    from math_verify import LatexExtractionConfig, parse

    read = parse(f"${latex}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None)
    return read[0] if read else None


def _same_values(a: Any, b: Any, tolerance: float) -> bool | None:
    """Whether two expressions have the same values; ``None`` if they have no numbers as values."""
    from sympy import Dummy, Float
    from sympy.core.function import AppliedUndef

    functions = {f: Dummy(str(f)) for f in sorted(a.atoms(AppliedUndef) | b.atoms(AppliedUndef), key=str)}
    a, b = a.xreplace(functions), b.xreplace(functions)  # u(t) is a variable
    symbols = sorted(a.free_symbols | b.free_symbols, key=str)
    for first, step in _PLACES if symbols else _PLACES[:1]:
        where = {symbol: Float(first, 50) + Float(step, 50) * i for i, symbol in enumerate(symbols)}
        x, y = (e.evalf(DIGITS, subs=where) for e in (a, b))
        if not (x.is_number and y.is_number and x.is_finite and y.is_finite):
            return True if not symbols and x == y else None
        difference, size = abs(x - y), max(abs(x), abs(y))
        if difference > max(_AGREE * size, tolerance):
            return False
        if difference and size < _LEAST and not tolerance:
            return bool((a - b).simplify() == 0)
    return True


def _distinct(right: str, found: str) -> tuple[str, str]:
    r"""Both expressions with another name for each capital letter that one of them has small as well, and for E and I.

    math-verify takes M and m, or `\Delta` and `\delta`, for the same variable. This is left so where each expression
    has one of the two only: some write C for a constant, and some c.
    """
    both = {letter for expression in (right, found) for letter in _in_both_cases(expression)}

    def renamed(match: re.Match[str]) -> str:
        name, index = match[1] or match[2], match[3] or match[4]
        is_capital = name != name.lower()
        if (is_capital and (name.lower() in both or name in _CONSTANTS)) or (name == "e" and index):
            return f"z_{{{'big' if is_capital else 'small'}{name}{index or ''}}}"
        return match.group()

    return _LETTER.sub(renamed, right), _LETTER.sub(renamed, found)


def _in_both_cases(expression: str) -> set[str]:
    """The small form of each letter that occurs as a capital and as a small letter."""
    letters = {match[1] or match[2] for match in _LETTER.finditer(expression)}
    return {letter for letter in letters if letter == letter.lower() and letter.title() in letters}
