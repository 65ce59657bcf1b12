import pytest

from relay_core.evaluate.grading.final_answer import final_answer, last_expression


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{5}", "5"),
        (r"\boxed{\frac{1}{2}} and more", r"\frac{1}{2}"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{1}, no: \boxed{2}", "2"),
        (r"$\boxed{1}$ and $\boxed{2}$", "1, 2"),
        (r"$\boxed{1}$, $\boxed{2}$, or $\boxed{3}$", "1, 2, 3"),
        (r"\boxed{1} or \boxed{1}", "1"),
        (r"\boxed{7} \boxed{}", "7"),
        (r"\boxed{\frac{1}{2", r"\frac{1}{2"),
        ("\\boxed{5\nThe rest.", "5"),
        (r"\(\boxed{5\)", "5"),
        (r"\fbox {5}", "5"),
        ("8 + 8 = 16\n#### 16", "16"),
        ("#### 1\n#### 2\nDone.", "2"),
        ("The answer is 5.", "5"),
        ("The final answer is: $x = 2.5$. I hope.", "$x = 2.5$"),
        ("**Answer:** 12 apples", "12 apples"),
        ("The answer is 4. No, the answer is 5", "5"),
        ("ANSWER = 3", "3"),
        ("An answer to this was sought: 5", None),
        ("The answer", None),
        (r"\boxed{}", None),
        ("so 5", None),
        ("", None),
    ],
)
def test_what_a_text_states(text, answer):
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("so $x = 5$ in all", "x = 5"),
        ("so $x = 5$ for 3 apples", "3"),
        (r"first \(1\), then \[2\]", "2"),
        ("It costs $1,072.50.", "1,072.50"),
        ("a share of 1/2.", "1/2"),
        (r"x = 2\sqrt{3}", r"2\sqrt{3}"),
        ("x2 and e^3", None),
        ("none", None),
    ],
)
def test_the_last_expression(text, expression):
    assert last_expression(text) == expression


def test_a_long_text_takes_no_longer_than_its_length():
    text = r"\boxed{" * 40_000 + "answer is" * 40_000
    assert final_answer(text) is not None
    assert last_expression("$ 1 " * 100_000) is not None
