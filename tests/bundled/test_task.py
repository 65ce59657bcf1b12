"""The task: its splits, its answers, its grading."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_core.bundled import task


def calculation(p: task.Problem) -> str:
    """The numbers of a problem, without its words."""
    return p.id.split("-", 4)[4]


@settings(max_examples=30, deadline=None)
@given(seeds=st.lists(st.integers(0, 10**9), min_size=3, max_size=3), n=st.integers(1, 40))
def test_splits_never_share_a_calculation(seeds: list[int], n: int) -> None:
    seen = {
        split: {calculation(p) for p in task.problems(n, split=split, seed=seed)}
        for split, seed in zip(task.SPLITS, seeds, strict=True)
    }
    assert not seen["train"] & seen["dev"]
    assert not seen["train"] & seen["test"]
    assert not seen["dev"] & seen["test"]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**9), band=st.sampled_from(task.BANDS))
def test_the_reference_answer_is_right_in_every_step(seed: int, band: task.Band) -> None:
    for family in (None, task.HELD_OUT):
        for p in task.problems(5, band=band, seed=seed, family=family):
            assert task.grade(p.solution, p.answer)
            for a, op, b, c in re.findall(r"(\d+) ([-+*]) (\d+) = (\d+)", p.solution):
                assert {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[op] == int(c)
            assert len(p.products) == p.solution.count("*") == (band != "easy")
            for begin, end in p.products:
                assert p.solution[:begin].endswith(" = ")
                assert p.solution[end] == "."
                assert p.solution[begin:end].isdigit()


@given(seed=st.integers(0, 10**9))
@settings(max_examples=30, deadline=None)
def test_a_question_holds_what_its_answer_needs(seed: int) -> None:
    for p in task.problems(5, seed=seed):
        told = "\n".join(m["content"] for m in p.messages)
        fact = p.solution.split(". ")[1]
        assert fact in told
        assert p.question in p.messages[-1]["content"]
        assert (fact in p.question) == (p.form != "context")
        assert bool(p.context) == (p.form == "context")


def test_the_same_arguments_give_the_same_problems() -> None:
    assert task.problems(20, seed=7) == task.problems(20, seed=7)
    assert task.problems(20, seed=7)[:10] == task.problems(10, seed=7)
    assert task.problems(20, seed=7) != task.problems(20, seed=8)
    assert task.problems(20, seed=7, split="dev") != task.problems(20, seed=7, split="test")


def test_what_is_fixed_is_fixed() -> None:
    for p in task.problems(20, split="dev", band="easy", form="context", family="wages"):
        assert (p.split, p.band, p.form, p.family) == ("dev", "easy", "context", "wages")
    assert all(p.family in task.TRAINING for p in task.problems(200))
    assert all(p.family == task.HELD_OUT for p in task.problems(20, family=task.HELD_OUT))
    assert {p.band for p in task.problems(50, mix={"easy": 1.0, "hard": 1.0})} == {"easy", "hard"}


def test_the_demo_has_its_exact_mix() -> None:
    bands = [p.band for p in task.demo_problems(300)]
    assert [bands.count(b) for b in task.BANDS] == [120, 150, 30]
    assert all(p.split == "test" for p in task.demo_problems(30))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (r"so \boxed{42}.", True),
        (r"\boxed{41} no, \boxed{ 42 }", True),
        (r"\boxed{42} no, \boxed{41}", False),
        (r"\boxed{4,2}", True),
        (r"\boxed{}", False),
        ("42", False),
        ("", False),
    ],
)
def test_the_last_box_is_graded(text: str, right: bool) -> None:
    assert task.grade(text, 42) is right
    assert task.grade(text, "42") is right


def test_the_task_needs_no_torch() -> None:
    code = (
        "import sys, relay_core.bundled, relay_core.bundled.task; "
        "assert not {'torch', 'transformers', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
