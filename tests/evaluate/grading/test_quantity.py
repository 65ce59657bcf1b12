from fractions import Fraction

import pytest

from relay_core.evaluate.grading.quantity import Quantity, equal, quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,072", 1072), ("-2.50", Fraction(-5, 2)), (".5", Fraction(1, 2)), ("5.", 5), ("023", 23), ("+2", 2),
        (r"3.8\times 10^{35}", 38 * 10**34), (r"1\times 10^{-2}", Fraction(1, 100)), ("-1./3", Fraction(-1, 3)),
        (r"\frac{1}{2}", Fraction(1, 2)), (r"-\frac{3}{-6}", Fraction(1, 2)), (r"137 \frac{1}{2}", Fraction(275, 2)),
        ("1 1/2", Fraction(3, 2)), ("18 dollars per day", 18), ("12%", 12),
        ("1,07", None), ("0,120", None), ("1/0", None), ("2x", None), ("5 m", None), ("", None), ("9" * 300, None),
    ],
)  # fmt: skip
def test_numbers_are_exact(text, value):
    number = quantity(text)
    assert (None if number is None else number.value) == value


def test_what_a_decimal_counts():
    assert quantity("0.250") == Quantity(Fraction(1, 4), False, Fraction(1, 1000), 3)
    assert quantity("12%") == Quantity(Fraction(12), True, None, 2)


@pytest.mark.parametrize(
    ("right", "found", "is_equal"),
    [
        ("50%", "50", True), ("50%", "0.5", False), ("0.5", "50%", True), ("0.5", "50", False), ("50", "50%", True),
        ("1", "100%", True), ("1/3", "0.333333", True), ("1/3", "0.33333", False), ("41.8", "41.8103", False),
        ("123456.7", "123456.8", False), ("1000000", "1000001", False),
    ],
)  # fmt: skip
def test_equal(right, found, is_equal):
    assert equal(quantity(right), quantity(found), Fraction(0)) is is_equal
