"""The word problems: the splits share no calculation, and what is held out is in no training split."""

import re

import pytest

from relay_core.errors import ConfigurationError
from relay_core.evaluate.benchmarks.word_problems import (
    FAMILIES,
    HELD_OUT,
    TRAINED,
    UNSEEN,
    UnseenWordProblems,
    WordProblems,
)  # fmt: skip
from relay_core.evaluate.task import Task, task_from_spec

TASK = WordProblems()


def parts(problem):
    _, kind, wording, numbers, *_ = problem.id.split("/")
    a, b = map(int, numbers.split("-"))
    return kind, int(wording), a, b


def calculation(problem):
    kind, _, a, b = parts(problem)
    if kind in ("less", "per cent"):
        return kind, a, b
    return ("sum" if kind == "more" else "product"), *sorted((a, b))


def drawn(split, n=600, seed=0):
    return TASK.problems(split, n, seed=seed)


def test_the_spec_names_it():
    assert isinstance(task_from_spec("word-problems"), Task)
    assert isinstance(task_from_spec("word-problems-unseen"), UnseenWordProblems)


def test_problems_with_one_calculation_are_one_cluster():
    clusters = {}
    for problem in drawn("test", 300):
        clusters.setdefault(problem.cluster, set()).add(calculation(problem))
    assert all(len(calculations) == 1 for calculations in clusters.values())
    assert len(clusters) == len({calculation(problem) for problem in drawn("test", 300)}) < 200


def test_no_two_splits_share_a_calculation():
    seen = {
        split: {calculation(p) for seed in (0, 1) for p in drawn(split, seed=seed)}
        for split in ("train", "dev", "test")
    }
    assert not seen["train"] & seen["test"] and not seen["train"] & seen["dev"] and not seen["dev"] & seen["test"]


def test_the_unseen_split_has_the_numbers_of_test_and_words_that_no_other_split_has():
    trained = {(kind, wording) for p in drawn("train", 1000) for kind, wording, *_ in [parts(p)]}
    unseen = drawn(UNSEEN, 200)
    assert not trained & {parts(p)[:2] for p in unseen}
    assert {calculation(p) for p in unseen} & {calculation(p) for p in drawn("train", 1000)} == set()
    kinds = [parts(p)[0] for p in unseen]
    assert kinds.count(HELD_OUT) >= len(kinds) // 2 and set(kinds) == set(FAMILIES)
    assert {kind for kind, _ in trained} == set(TRAINED) and HELD_OUT not in TRAINED


@pytest.mark.parametrize("split", ["train", "dev", "test", UNSEEN])
def test_problems_are_different_repeatable_and_mixed(split):
    problems = drawn(split, 200)
    assert problems == drawn(split, 200) and problems[:50] == drawn(split, 50) and problems != drawn(split, 200, seed=1)
    assert len({p.messages[0]["content"] for p in problems}) == len({p.id for p in problems}) == 200
    assert sum(p.group == "easy" for p in problems) == 80
    assert {p.group for p in TASK.problems(split, 20, mix={"hard": 1})} == {"hard"}


def test_the_answer_is_the_calculation_of_the_numbers_in_the_text():
    for problem in [*drawn("train", 300), *drawn(UNSEEN, 100)]:
        kind, _, a, b = parts(problem)
        text = problem.messages[0]["content"]
        assert {str(a), str(b)} <= set(re.findall(r"\d+", text)), text
        value = {"more": a + b, "less": a - b, "per cent": a * b / 100}.get(kind, a * b)
        assert problem.answer == str(int(value)) and value == int(value) and value > 0, text
        assert "{" not in text


def test_the_last_number_is_graded():
    (problem,) = drawn("test", 1)
    assert TASK.grade(f"3 + 4, so the result is {problem.answer}.", problem)
    assert not TASK.grade(f"{problem.answer} or 123456", problem)
    assert TASK.answer_in("it is 1,200 in all") == "1200" and TASK.answer_in("I do not know") is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tset", 3), "did you mean test"), (("test", None), "say how many"), (("test", 100_000), "too few"),
    ],
)  # fmt: skip
def test_bad_arguments(arguments, said):
    with pytest.raises(ConfigurationError, match=said):
        TASK.problems(*arguments, mix={"easy": 1})
    with pytest.raises(ConfigurationError, match="no group"):
        TASK.problems("test", 3, mix={"esay": 1})
    with pytest.raises(ConfigurationError, match="one split"):
        UnseenWordProblems().problems("train", 3)
