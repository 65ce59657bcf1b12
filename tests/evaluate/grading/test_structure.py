import pytest

from relay_core.evaluate.grading.structure import Group, Kind, group, sides, split, unwrapped


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("1,3", Group(Kind.LIST, ("1", "3"))),
        ("1,000", None),
        ("(1,000)", Group(Kind.TUPLE, ("1", "000"))),
        ("(1, 2]", Group(Kind.RIGHT_CLOSED, ("1", "2"))),
        ("[1; 2)", Group(Kind.LEFT_CLOSED, ("1", "2"))),
        (r"\{1,2\}", Group(Kind.SET, ("1", "2"))),
        (r"\{\}", Group(Kind.SET, ())),
        ("(1,2),(3,4)", Group(Kind.LIST, ("(1,2)", "(3,4)"))),
        (r"(0,9) \cup (9,36)", Group(Kind.UNION, ("(0,9)", "(9,36)"))),
        (r"\{1\pm x,-2\}", Group(Kind.SET, ("1+ x", "1- x", "-2"))),
        (r"\pm 3", Group(Kind.LIST, ("3", "- 3"))),
        (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", Group(Kind.MATRIX, ("1", "2", "3", "4"), (2, 2))),
        ("(5)", None),
        ("(a+5)(b+2)", None),
        (r"\frac{1,2}{3}", None),
    ],
)
def test_groups(answer, expected):
    assert group(answer) == expected


def test_a_thousand_may_be_two_numbers():
    assert group("100,200", split_thousands=True) == Group(Kind.LIST, ("100", "200"))


def test_parts():
    assert split("a, (b, c), d", ",") == ["a", "(b, c)", "d"]
    assert sides("x = 3+4 = 7") == ("x", "7") and sides("x=1, y=2") is None and sides("{a=b}") is None
    assert sides("x = 1, 2") == ("x", "1, 2")
    assert unwrapped("(5)") == "5" and unwrapped("(a)(b)") == "(a)(b)" and unwrapped("[5]") == "[5]"
