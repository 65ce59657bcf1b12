import pytest

from relay_core.evaluate.grading.values import equal


@pytest.mark.parametrize(
    ("right", "found", "is_equal"),
    [
        ("2^{-99}", r"\frac{1}{2^{99}}", True),
        ("2^{-99}", "2^{-98}", False),
        (r"\sqrt{x^2}", "x", False),  # not for negative x
        (r"\sqrt[3]{8}", "2", True),
        (r"\sin^2 x + \cos^2 x", "1", True),
        (r"\lceil n/2 \rceil", r"\lfloor n/2 \rfloor", False),
        ("2 x_1", "x_1 + x_1", True),
        ("A a", "a^2", False),
        (r"\Delta + \delta", r"2 \delta", False),
        ("x > 1", "1 < x", True),
        (r"\infty", r"\infty", True),
        (r"\infty", r"-\infty", False),
        ("x", r"\frac{", False),
    ],
)
def test_values(right, found, is_equal):
    assert equal(right, found, 0.0) is is_equal


def test_a_tolerance_and_a_right_answer_that_cannot_be_read():
    assert equal(r"\sqrt{2}", "1.41", 0.01) and not equal(r"\sqrt{2}", "1.41", 0.001)
    with pytest.raises(ValueError, match="cannot read the right answer"):
        equal(r"\frac{", "x", 0.0)
