r"""One notation for what can be written in several ways: `\dfrac12` and `\frac12` become `\frac{1}{2}`."""

from __future__ import annotations

import re

_TEXT = r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf|tt)|mbox|hbox|operatorname|bm|boldsymbol)\s*"
_UNIT = rf"(?:\s*(?:/|\\cdot|\\times)?\s*{_TEXT}\{{[^{{}}]*\}}(?:\^\s*\{{?\s*-?\d+\s*\}}?)?)"

#: what is rewritten, in this order
_REWRITTEN = [
    (r"\*\*|__", ""),
    (r"−|–", "-"), (r"×|·", r"\\times "), (r"÷", "/"), (r"π", r"\\pi "), (r"∞", r"\\infty "), (r"√", r"\\sqrt"),
    (r"≤", r"\\le "), (r"≥", r"\\ge "), (r"≠", r"\\ne "), (r"∪", r"\\cup "), (r"∈", r"\\in "), (r"²", "^2"),
    (r"³", "^3"), (r"′|'", r"^{\\prime}"), (r"″|''", r"^{\\prime\\prime}"),
    (rf"{_TEXT}\{{\s*(?:percent|per cent)\s*\}}|\\%|\bper\s?cent\b", "%"),
    (r"\\\$", ""), (r"\$|\\\[|\\\]|\\\(|\\\)", ""), (r"\{,\}|,\s*\\!", ","),
    (r"\\(?:left|right|[Bb]igg?[lr]?)(?![A-Za-z])\.?", ""), (r"\\[,!;: ]|~|\\q?quad(?![A-Za-z])|\\displaystyle", " "),
    (r"\\[dtc]frac", r"\\frac"), (r"\\(?:approx|simeq|sim)(?![A-Za-z])", "="),
    (r"\\(?:geqslant|geq)(?![A-Za-z])", r"\\ge"), (r"\\(?:leqslant|leq)(?![A-Za-z])", r"\\le"),
    (r"\\neq(?![A-Za-z])", r"\\ne"), (r"\\lbrace", r"\\{"),
    (r"\\rbrace", r"\\}"), (r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)|°|\\degree", ""), (r"\^\s*(\d|[a-z])", r"^\1"),
    (rf"{_TEXT}\{{\s*,?\s*(?:and|or)\s*\}}|(?:,\s*)?\b(?:and|or)\b", ","),
    (rf"(?<=[\d}})])(?<!\^\d){_UNIT}+\s*$", ""),
    (rf"{_TEXT}\{{([^{{}}]*)\}}", r" \1 "),
    (r"\\?\bsqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"), (r"(?<!\\)\bpi\b", r"\\pi"),
    (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"), (r"\\frac\s*(\{[^{}]*\})\s*(\d)", r"\\frac\1{\2}"),
    (r"(\d\.?)[eE]([-+]?\d+)\b", r"\1\\times 10^{\2}"),
    (r"_\s*\{\s*\\([a-z]+)\s*\}", r"_{\1}"), (r"\s+", " "),
]  # fmt: skip
_RULES = [(re.compile(pattern), replacement) for pattern, replacement in _REWRITTEN]
_SINGLE = re.compile(r"(?<![a-z])\{(\w)\}")


def normal(answer: str) -> str:
    """The answer in one notation: without dollar signs, spacing, styles, degrees, currencies and units in `\\text`."""
    for pattern, replacement in _RULES:
        answer = pattern.sub(replacement, answer)
    answer = answer.strip(" .,;:")
    return answer.lstrip("=+ ")


def compact(answer: str) -> str:
    """The normal form without spaces and without braces around single characters, to compare as text."""
    return _SINGLE.sub(r"\1", answer.replace(" ", ""))
