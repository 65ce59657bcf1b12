"""The word problems: distinct, the same in every run, and graded by their answers."""

from __future__ import annotations

import re

import pytest

from benchmarks.word_problems import FAMILIES, LargeNumbers, SmallNumbers
from relay_core.errors import ConfigurationError
from relay_core.evaluate.task import Task, task_from_spec


@pytest.mark.parametrize("task", [SmallNumbers(), LargeNumbers()])
def test_problems_are_distinct_and_reproducible(task: LargeNumbers) -> None:
    assert isinstance(task, Task)
    problems = task.problems("test", 200, seed=3)
    assert problems == task.problems("test", 200, seed=3) != task.problems("test", 200, seed=4)
    assert len({problem.messages[0]["content"] for problem in problems}) == len({p.id for p in problems}) == 200
    counts = [sum(problem.group == group for problem in problems) for group in FAMILIES]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("task", [SmallNumbers(), LargeNumbers()])
def test_answers_are_those_of_the_questions(task: LargeNumbers) -> None:
    calculate = {"more": "{} + {}", "less": "{} - {}", "per cent": "{} * {} / 100"}
    for problem in task.problems("test", 140):
        numbers = re.findall(r"\d+", problem.messages[0]["content"])
        value = eval(calculate.get(problem.group, "{} * {}").format(*numbers))
        assert value == int(problem.answer) > 0
        assert task.grade(f"So it is 7, no: {value}.", problem) and not task.grade(f"It is {value + 1}.", problem)


def test_a_task_that_is_named_and_what_it_refuses() -> None:
    task = task_from_spec("benchmarks.word_problems:SmallNumbers")
    with pytest.raises(ConfigurationError, match="leave out mix"):
        task.problems("test", 7, mix={"more": 1.0})
    with pytest.raises(ConfigurationError, match="too few different problems"):
        task.problems("test", 2000)
