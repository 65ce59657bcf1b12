r"""Answers beside the right answer: what is right, and what is not. Each trap of math-verify 0.9.0 has its row."""

import pytest

from relay_core import GradingError
from relay_core.evaluate.grading import compare
from relay_core.evaluate.grading.compare import agree, is_right


def boxed(*answers: str) -> list[str]:
    return [f"So it is $\\boxed{{{answer}}}$." for answer in answers]


#: the right answer; texts that hold it; texts that do not
ROWS = {
    "small numbers": (r"\frac{1}{2^{99}}", boxed("2^{-99}", "1/2^{99}"), boxed("1/2^{98}", "0")),
    "small terms": (r"\frac{x}{2^{99}}", boxed("x 2^{-99}"), boxed("x/2^{98}")),
    "small decimals": (
        "3.61e-10", boxed(r"3.61 \times 10^{-10}", "0.000000000361", "36.1e-11"), boxed("2.55e-10", "0"),
    ),
    "a root is not dropped": (
        "4",
        boxed("4", r"\sqrt{16}"),
        [*boxed(r"4\sqrt{2}", r"4\sqrt(2)", "4x", "4, 5"), r"$4\sqrt(2)$", r"4\sqrt(2)"],
    ),
    "nor on the other side": (r"4\sqrt{2}", boxed(r"4\sqrt(2)", r"\sqrt{32}", "5.65685425"), boxed("4", "5.66")),
    "a root in round brackets": (r"4\sqrt(2)", boxed(r"4\sqrt2"), boxed("4")),
    "a set": (r"\{1,2\}", boxed(r"\{2,1\}", "1, 2"), boxed("(1,2)", "[1,2]", r"\{1,2,3\}", "1")),
    "a tuple or an open interval": (
        "(1,2)",
        boxed("(1, 2)", r"\left(1,\,2\right)", "(x,y)=(1,2)", "1,2"),
        boxed(r"\{1,2\}", "(2,1)", "[1,2)", "2,1"),
    ),
    "per cent, with its sign": (
        r"50\%", [*boxed(r"50\%", "50", r"50\text{ percent}"), "It is 50%.", "50 per cent"], boxed("0.5", r"5\%"),
    ),
    "per cent, as a share": ("0.5", boxed(r"50\%", "0.5", "1/2", r"\frac12"), boxed("50", r"0.5\%")),
    "per cent, as a number of them": ("50", boxed(r"50\%", "50"), boxed("0.5")),
    "a bare list": (
        "1,3",
        [*boxed("1,3", "3, 1", "x=1, x=3", r"\{1,3\}", "(1,3)"), "The answer is $1$ and $3$.",
         r"$\boxed{1}$ or $\boxed{3}$"],
        boxed("1.3", "13", "1", "3", "(3,1)"),
    ),
    "a thousand": ("1,000", boxed("1000", "1,000", "1{,}000", "10^3", r"1,\!000"), boxed("1", "1,0", "1.000")),
    "a list of large numbers": ("100, 200", boxed("100,200", "200, 100"), boxed("100200")),
    "a box that is never closed": (
        "5",
        [r"so \boxed{5", r"so $\boxed{5", r"so $\boxed{5}", r"\boxed 5", r"\boxed5.", r"\boxed{5$ and then"],
        [r"so \boxed{50", r"so \boxed{", r"\boxed{5} and \boxed{6"],
    ),
    "forms of a final answer": (
        "5",
        [*boxed("x = 5", r"5 \text{ cm}", r"5^\circ", r"\$5", r"\text{5}", r"\textbf{(5) }", "5.0", "x=2+3=5"),
         r"\framebox{5}", "The final answer is $5$. I hope it is correct.", "Answer: 5 apples", "7\n#### 5",
         "so 2+3=5", "**Answer:** $x=5$", r"$$x \approx 5$$", r"No: \boxed{4}. Yes: \boxed{5}"],
        [*boxed("", "6", "5 and 6", "5x", r"5\%6"), "", "none", r"\boxed{5}, no: \boxed{4}", "The answer is unknown."],
    ),
    "a bare letter": (
        "B", [*boxed("B", r"\text{B}", "(B)", r"\textbf{(B)}"), "The answer is B.", "The answer is (B)."],
        boxed("A", "C", "2"),
    ),
    "a letter in brackets": (r"\text{(B)}", boxed("B"), boxed("A")),
    "capitals are other variables": ("M/m", boxed(r"\frac{M}{m}"), boxed("1", "m/M")),
    "a constant's name may be small or not": ("C e^{2t}", boxed("c e^{2t}", "C e^{2t}"), boxed("k e^{2t}")),
    "and so are primes": ("y'", boxed("y'", r"y^{\prime}"), boxed("y")),
    "E with an index": (r"\frac{1}{3} E_{1}+E_{2}", boxed(r"E_2 + E_1/3"), boxed("E_1 + E_2", "24")),
    "other bases": ("52_8", boxed("52_8", "52_{8}", "52"), boxed("52_9", "42")),
    "a rounded decimal": (r"\frac{1}{3}", boxed("0.333333", r"\dfrac{2}{6}"), boxed("0.33", "3", "0.333334")),
    "a union": (
        r"(-\infty,0)\cup\{1\}",
        boxed(r"\{1\}\cup(-\infty,0)", r"x\in(-\infty,0)\cup\{1\}"),
        boxed(r"(-\infty,0)", r"(-\infty,0]\cup\{1\}"),
    ),
    "plus and minus": (r"1 \pm \sqrt{19}", boxed(r"1-\sqrt{19}, 1+\sqrt{19}", r"1\pm\sqrt{19}"), boxed(r"1+\sqrt{19}")),
    "a polynomial": ("x^2-1", boxed("(x-1)(x+1)", "-1+x^2", "f(x)=x^2-1"), boxed("x^2", "y^2-1")),
    "an equation": ("y = 2x+3", boxed("y=3+2x", "2x+3", "2x - y + 3 = 0"), boxed("y=2x", "x=2y+3")),
    "an inequality": (r"k \ge 2", boxed(r"k \geq 2", r"2 \le k", r"[2,\infty)"), boxed("k>2", r"k\le 2", "2")),
    "a matrix": (
        r"\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}",
        boxed(r"\begin{pmatrix} 0.2 \\ -3.6 \end{pmatrix}"),
        boxed(r"\begin{pmatrix} -3.6 \\ 0.2 \end{pmatrix}", r"\begin{pmatrix} 0.2 & -3.6 \end{pmatrix}"),
    ),
    "a word": (r"\text{Evelyn}", [*boxed(r"\text{Evelyn}", "evelyn"), "The answer is Evelyn."], boxed(r"\text{Carla}")),
    "a complex number": ("6+9i", boxed("9i + 6"), boxed("6-9i")),
    "a function": ("u(t) e^{-t}", boxed(r"\frac{u(t)}{e^t}"), boxed("u(t)", "v(t) e^{-t}")),
    "a mixed number": (r"1\frac{4}{5}", boxed("1.8", r"\frac{9}{5}"), boxed(r"\frac{4}{5}")),
    "degrees": (r"\frac{270}7\text{ degrees}", boxed(r"\frac{270}{7}", r"\frac{270}{7}^\circ"), boxed("270")),
    "no box": ("540", ["The train takes 540 miles.", "She makes $540 in total."], ["54", "540 or 541, no: 541"]),
    "a name": (r"m_{\max}=n^2", boxed("n^2", r"m_{\max} = n \cdot n"), boxed("n=2", "n")),
    "a binomial": (r"\binom{2n}{n}", boxed(r"\frac{(2n)!}{n!n!}", r"\dbinom{2n}{n}"), boxed(r"\binom{n}{2}")),
    "dollar signs": (r"$\frac{25}{2}$", boxed("12.5"), boxed("25")),
    "two formulas": (r"$\frac{1}{2}$,$3$", boxed(r"3, \frac{1}{2}"), boxed("3")),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_right_answers_are_accepted_and_others_are_not(name):
    answer, right, wrong = ROWS[name]
    assert [text for text in right if not is_right(text, answer)] == []
    assert [text for text in wrong if is_right(text, answer)] == []


def test_a_tolerance():
    assert is_right(r"\boxed{4.26}", "4.2", tolerance=0.1) and not is_right(r"\boxed{4.31}", "4.2", tolerance=0.1)
    assert is_right(r"\boxed{3\sqrt{2}}", "4.2", tolerance=0.1) and not is_right(
        r"\boxed{4\sqrt{2}}", "4.2", tolerance=0.1
    )


def test_the_answers_of_two_texts():
    assert agree("The answer is 0.5.", r"so \boxed{\frac{1}{2}}") and agree(r"\boxed{7}", "I get 7")
    assert not agree("The answer is 5.", r"\boxed{6}") and not agree("", "")


def test_what_is_too_long_is_no_answer():
    long = "1+" * 600
    assert not is_right(rf"\boxed{{{long}1}}", 601) and not is_right(r"\boxed{601}", f"{long}1")


def test_a_right_answer_that_cannot_be_read_is_no_wrong_answer():
    with pytest.raises(GradingError, match=r"cannot read the right answer 't\(0,4\]'"):
        is_right(r"\boxed{x+1}", "t(0,4]")
    assert is_right(r"\boxed{t(0,4]}", "t(0,4]")


def test_numbers_and_words_need_no_other_process(monkeypatch):
    """So that grading is fast from the first answer on."""
    monkeypatch.setattr(compare.worker, "equal", None)
    for answer, text in (("1,072", "#### 1072"), ("023", r"\boxed{23}"), (r"\frac{1}{2}", r"\boxed{0.5}")):
        assert is_right(text, answer) and not is_right(r"\boxed{7}", answer)
    assert is_right(r"\boxed{\text{(B)}}", "B") and is_right(r"\boxed{(3, 1)}", "(3,1)")
