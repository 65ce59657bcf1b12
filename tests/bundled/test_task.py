"""The task: its splits, its answers, its grading."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_core.bundled import arithmetic, task
from relay_core.errors import ConfigurationError
from relay_core.evaluate.task import Task, task_from_spec


def calculation(p: task.WordProblem) -> str:
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
@given(seed=st.integers(0, 10**9), group=st.sampled_from(task.GROUPS))
def test_the_reference_answer_is_right_in_every_step(seed: int, group: arithmetic.Group) -> None:
    for family in (None, task.HELD_OUT):
        for p in task.problems(5, group=group, seed=seed, family=family):
            assert task.grade(p.solution, p.answer)
            for a, op, b, c in re.findall(r"(\d+) ([-+*]) (\d+) = (\d+)", p.solution):
                assert {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[op] == int(c)
            assert len(p.products) == p.solution.count("*") == (group != "easy")
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


def test_split_group_form_and_family_can_be_fixed() -> None:
    for p in task.problems(20, split="dev", group="easy", form="context", family="wages"):
        assert (p.split, p.group, p.form, p.family) == ("dev", "easy", "context", "wages")
    assert all(p.family in task.TRAINING for p in task.problems(200))
    assert all(p.family == task.HELD_OUT for p in task.problems(20, family=task.HELD_OUT))
    assert {p.group for p in task.problems(50, mix={"easy": 1.0, "hard": 1.0})} == {"easy", "hard"}


def test_the_demo_has_its_exact_mix() -> None:
    groups = [p.group for p in task.demo_problems(300)]
    assert [groups.count(group) for group in task.GROUPS] == [120, 150, 30]
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


def digest(problems: Sequence[task.WordProblem]) -> str:
    fields = "id group form family split messages answer solution question context products".split()
    rows = [[getattr(p, field) for field in fields] for p in problems]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


#: digests of the problems that the shipped models were trained and measured on
DIGESTS = {
    "train": ("b75279bbcdb53e5a", "4052e016a5104df9", "712f6bca1155b266"),
    "dev": ("743d974c9942c90e", "acfa68aa4fadf4f0", "205a102e58e61008"),
    "test": ("53a2b1756b3fd3d8", "04747808ee042890", "b61386bf36add54f"),
}


@pytest.mark.parametrize("split", task.SPLITS)
def test_the_problems_are_those_that_the_shipped_models_were_trained_on(split: arithmetic.Split) -> None:
    drawn = task.problems(300, split=split)
    mixed = task.problems(300, split=split, seed=5, mix={"easy": 0.2, "hard": 0.8})
    held_out = task.problems(100, split=split, family=task.HELD_OUT)
    assert (digest(drawn), digest(mixed), digest(held_out)) == DIGESTS[split]


@pytest.mark.parametrize(
    ("n", "seed", "expected"),
    [(300, 0, "9a388a2a9168a1dc"), (300, 3, "11a5f7dbfccdbd36"), (37, 3, "2e143775212bad17")],
)
def test_the_demos_problems_are_those_of_the_published_figures(n: int, seed: int, expected: str) -> None:
    assert digest(task.demo_problems(n, seed=seed)) == expected
    assert digest(task.BundledTask().problems("test", n, seed=seed)) == expected


def test_the_bundled_task_is_a_task() -> None:
    bundled = task_from_spec("bundled")
    assert isinstance(bundled, task.BundledTask) and isinstance(bundled, Task)
    assert (bundled.name, tuple(bundled.groups)) == ("bundled", ("easy", "medium", "hard"))
    mix = {"easy": 0.2, "hard": 0.8}
    for split in ("train", "dev"):
        assert bundled.problems(split, 20, seed=5) == task.problems(20, split=split, seed=5)
    for split in task.SPLITS:
        assert bundled.problems(split, 20, seed=5, mix=mix) == task.problems(20, split=split, seed=5, mix=mix)
    problem = bundled.problems("test", 1)[0]
    assert bundled.grade(problem.solution, problem)
    assert not bundled.grade(r"\boxed{no}", problem)


def test_an_unknown_split_or_group_and_a_missing_number_are_refused() -> None:
    bundled = task.BundledTask()
    with pytest.raises(ConfigurationError, match="no split 'tset': did you mean test"):
        bundled.problems("tset", 3)
    with pytest.raises(ConfigurationError, match="no group 'simple': known: easy, hard, medium"):
        bundled.problems("train", 3, mix={"simple": 1.0})
    with pytest.raises(ConfigurationError, match="say how many"):
        bundled.problems("train")


def test_the_task_needs_no_torch() -> None:
    code = (
        "import sys, relay_core.bundled, relay_core.bundled.task; "
        "assert not {'torch', 'transformers', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "text", ["\\boxed{" + " " * 1_000_000, "\\boxed{" * 100_000, "\\boxed{1" + " " * 1_000_000 + "x"]
)
def test_grading_takes_no_longer_than_reading(text: str) -> None:
    began = time.thread_time()
    assert not task.grade(text, 1)
    assert task.grade(text + "\\boxed{ \n 1,000\t}", 1000)
    assert time.thread_time() - began < 2
