r"""Numbers as exact fractions: 1,000, -2.50, 3.8 \times 10^{35}, 1/2, \frac{1}{2}, 1\frac{1}{2}, 50%, 18 dollars."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

GROUPED = re.compile(r"[-+]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?")
"""A number whose digits are grouped in thousands."""
_PLAIN = r"(?:[1-9]\d{0,2}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+"
_POWER = r"\s*(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*\{?\s*(?P<power>[-+]?\d{1,3})\s*\}?"
_FORMS = [
    re.compile(rf"(?P<sign>[-+]?)\s*(?P<number>{_PLAIN})(?:{_POWER})?"),
    re.compile(rf"(?P<sign>[-+]?)\s*(?P<over>{_PLAIN})\s*/\s*(?P<under>{_PLAIN})"),
    re.compile(
        rf"(?P<sign>[-+]?)\s*(?P<whole>\d+)?\s*\\frac\s*\{{\s*(?P<over>-?(?:{_PLAIN}))\s*\}}"
        rf"\s*\{{\s*(?P<under>-?(?:{_PLAIN}))\s*\}}"
    ),
    re.compile(r"(?P<sign>[-+]?)\s*(?P<whole>\d+) (?P<over>\d+)/(?P<under>\d+)"),
]
_WORDS = re.compile(r"(?<=[\d}%]) ?(?<!\^\d)(?<!\d[eE])[ -][A-Za-z]{2,}[A-Za-z .,'/()-]*(?:\^\{?\d\}?)?$")
_PERCENT = re.compile(r"\s*%$")
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number, exactly as it is written.

    ``value``: the number before its percent sign. ``percent``: whether it has one. ``unit``: what the last digit of a
    decimal counts, such as 1/100 for 0.25; ``None`` for whole numbers and fractions. ``digits``: the decimal's
    significant digits.
    """

    value: Fraction
    percent: bool = False
    unit: Fraction | None = None
    digits: int = 0


def quantity(text: str) -> Quantity | None:
    """The number that a text in normal notation is, perhaps with a unit in words; ``None`` if it is another thing."""
    if len(text) > _LONGEST:
        return None
    text = _WORDS.sub("", text.strip()).strip()
    bare = _PERCENT.sub("", text)
    for form in _FORMS:
        match = form.fullmatch(bare)
        if match is not None:
            return _read(match.groupdict(), percent=bare != text)
    return None


def equal(right: Quantity, found: Quantity, tolerance: Fraction) -> bool:
    """Whether a number is the right one.

    A decimal with at least 6 significant digits is right if the right answer rounds to it, or it to the right answer.
    The docstring of the package says what a percent sign means.

    Args:
        tolerance: how far they may lie apart.
    """
    value = found.value
    if found.percent and not right.percent and abs(right.value) <= 1:
        value, found = value / 100, Quantity(value / 100)
    difference = abs(right.value - value)
    return difference <= max(tolerance, rounding(right), rounding(found))


def rounding(number: Quantity) -> Fraction:
    """How far a number may lie from a decimal that is rounded: half of what its last digit counts."""
    return Fraction(0) if number.unit is None or number.digits < 6 else number.unit / 2


def _read(parts: dict[str, str | None], *, percent: bool) -> Quantity | None:
    sign = -1 if parts.get("sign") == "-" else 1
    number = parts.get("number")
    if number is not None:
        digits = number.replace(",", "")
        power = Fraction(10) ** int(parts.get("power") or 0)
        decimals = len(digits.partition(".")[2])
        decimal = "." in digits or parts.get("power") is not None
        value = sign * Fraction(digits.removesuffix(".") or "0") * power
        unit = power / 10**decimals if decimal else None
        return Quantity(value, percent, unit, len(digits.replace(".", "").lstrip("0")))
    over, under = (Fraction((parts[name] or "").replace(",", "").removesuffix(".")) for name in ("over", "under"))
    if under == 0:
        return None
    return Quantity(sign * (int(parts.get("whole") or 0) + over / under), percent)
