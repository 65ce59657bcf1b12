import pytest

from relay_core import ConfigurationError, GradingError
from relay_core.errors import MissingExtraError
from relay_core.evaluate import graders
from relay_core.evaluate.graders import grader_from_spec


@pytest.mark.parametrize(
    ("spec", "answer", "right", "wrong"),
    [
        ("exact", "yes", [" yes\n"], ["yes.", "Yes", ""]),
        ("exact", 42, ["42"], ["42.0"]),
        (r"regex:#### (\d+)", "72", ["#### 1 no, #### 72"], ["#### 72, no, #### 1", "72", "####72"]),
        (r"regex:\d+", 72, ["is 1 or 72"], ["72 or 1", "none"]),
        (r"regex:(a)?b", "a", ["ab"], ["b"]),
        ("choice", "B", ["B", "(B)", "B. Paris", "The answer is B.", "Answer: (B)", r"so \boxed{B}",
                         r"\boxed{\text{B}}", "The answer is A. No: the answer is **B**"],
                   ["A", "A cup costs 3", "Bananas", "", "The answer is Bread", r"The answer is B: \boxed{C}"]),
        ("choice", 1, ["B"], ["A", "1"]),
        ("choice", "(b)", ["B"], ["C"]),
        ("number", "so 48/2 = 24\n#### 1,072", ["It is 1072.", "$1,072.00", "no 3, but 1072"],
                                               ["72", "none", "1072 or 3"]),
        ("number", -2.5, ["-2.50"], ["2.5", "-2"]),
        ("number", "none", [], ["none", "1"]),
        ("math", r"\frac{1}{2}", [r"so \boxed{0.5}", r"The answer is $\frac{2}{4}$"], [r"\boxed{2}", "none", ""]),
        ("math", "$x^2-1$", [r"\boxed{(x-1)(x+1)}"], [r"\boxed{x^2}"]),
        ("math", 282, [r"\boxed{282}"], [r"\boxed{28}"]),
        ("testing.tasks:holds_boxed", 5, [r"\boxed{5}"], ["5"]),
    ],
)  # fmt: skip
def test_each_grader_accepts_right_answers_only(spec, answer, right, wrong):
    grade = grader_from_spec(spec)
    assert [text for text in right if not grade(text, answer)] == []
    assert [text for text in wrong if grade(text, answer)] == []


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("exakt", r"no grader is called 'exakt'; did you mean exact\?"),
        ("regex", "did you mean regex"),
        ("regex:(", "not a regular expression"),
        ("regex:", "no pattern"),
        ("no_such_module:f", "cannot be imported.*no_such_module"),
        ("relay_core.evaluate.graders:nothing", "cannot be imported"),
        ("relay_core.evaluate.graders:ACCEPTED", "not a function"),
    ],
)
def test_a_grader_that_cannot_be_used_is_refused(spec, message):
    with pytest.raises(ConfigurationError, match=message):
        grader_from_spec(spec)


def test_math_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(graders, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install .*math-verify"):
        grader_from_spec("math")


def test_a_function_that_fails_neither_accepts_nor_rejects():
    with pytest.raises(GradingError, match=r"testing.graders:by_length failed: TypeError") as caught:
        grader_from_spec("testing.graders:by_length")(None, 5)
    assert isinstance(caught.value.__cause__, TypeError)


def test_graders_load_nothing_heavy(packages_after):
    loaded = packages_after("from relay_core.evaluate import dataset; dataset.grader_from_spec('math')")
    assert not loaded & {"torch", "transformers", "datasets", "pyarrow", "math_verify", "sympy"}
