import pytest

from relay_core.evaluate.grading.notation import compact, normal


@pytest.mark.parametrize(
    ("answer", "same"),
    [
        (r"$\dfrac12$", r"\frac{1}{2}"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"( 3, \frac{\pi}{2} )"),
        (r"10,\!080", "10,080"),
        (r"\$32,\!348", "32,348"),
        (r"145^\circ", "145"),
        (r"1.6 \mathrm{~g} / \mathrm{cm}^{3}", "1.6"),
        (r"8.64 \text{ m}", "8.64"),
        (r"\text{Evelyn}", "Evelyn"),
        (r"90\text{ percent}", "90%"),
        (r"1 \text{ and } 2", "1 , 2"),
        ("2, 3, or 4", "2, 3, 4"),
        (r"k \geqslant 2", r"k \ge 2"),
        ("x ≤ 3", r"x \le 3"),
        ("4√2", r"4\sqrt2"),
        ("sqrt(2)", r"\sqrt{2}"),
        ("2pi", "2pi"),
        ("2 pi", r"2 \pi"),
        ("3.83e35", r"3.83\times 10^{35}"),
        ("e^{2x}", "e^{2x}"),
        (r"m_{\max }", "m_{max}"),
        ("= +5.", "5"),
    ],
)
def test_one_notation(answer, same):
    assert normal(answer) == same


def test_compact():
    assert compact("x _ {1} + 2") == "x_1+2" and compact(r"\sqrt {12}") == r"\sqrt{12}"
