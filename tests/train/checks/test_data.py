import json

import pytest

from relay_core import ConfigurationError
from relay_core.train.checks import data
from relay_core.train.checks.findings import Inspection, Level
from relay_core.train.recipe import build

COUNTS = {"warmup": {"problems": 4}, "filter": {"problems": 4}, "measure": {"problems": 1}, "grpo": {"prompts": 4}}


def inspected(tmp_path, rows, **task):
    file = tmp_path / "problems.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Inspection(build({**COUNTS, "task": {"path": str(file), **task}}), tmp_path, 1)


def sums(n=12, answer=str):
    return [{"question": f"{i} + 1?", "answer": answer(i + 1)} for i in range(n)]


def test_counts_of_each_stage(tmp_path):
    assert list(data.data(inspected(tmp_path, sums()))) == [
        (Level.OK, "problems of problems: warmup 4, filter 4, measure 1")
    ]


def test_an_empty_answer_names_its_row(tmp_path):
    with pytest.raises(ConfigurationError, match="row 4: the column 'answer' is empty"):
        list(data.data(inspected(tmp_path, sums(answer=lambda n: "" if n == 4 else str(n)))))


def test_a_task_of_your_own_with_empty_answers_and_shared_prompts(tmp_path, monkeypatch):
    from testing.tasks import FixedTask, problem

    task = FixedTask([problem("6 * 47?", "", "easy"), problem("3 * 50?", 150, "easy")])
    inspection = Inspection(build({}), tmp_path, 1)
    inspection.__dict__["task"] = task
    inspection.__dict__["problems"] = {"filter": task.problems("train"), "measure": task.problems("train")}
    texts = [f"{level}: {text}" for level, text in data.data(inspection)]
    assert any(text.startswith("error: filter: 1 of 2 problems have an empty answer") for text in texts)
    assert any("2 of 2 prompts of the split test are trained on" in text for text in texts)


@pytest.mark.parametrize("grader", ["exact", "number", "regex:#### (\\d+)"])
def test_a_grader_passes_right_answers_in_its_form(tmp_path, grader):
    (level, text), = data.grader(inspected(tmp_path, sums(), grader=grader))  # fmt: skip
    assert level is Level.OK and "4 of 4 right answers" in text


def test_no_grader_is_given(tmp_path):
    (level, text), _ = data.grader(inspected(tmp_path, sums()))
    assert level is Level.WARNING and "--task.grader number" in text
    assert len(list(data.grader(Inspection(build({}), tmp_path, 1)))) == 1, "the bundled task has one of its own"


def test_a_grader_that_does_not_fit_the_answers(tmp_path):
    (level, text), = data.grader(inspected(tmp_path, sums(), grader="choice"))  # fmt: skip
    assert level is Level.WARNING and "passes none of 4 right answers" in text and "task.grader" in text


def passes_all(text, answer):
    return True


def raises(text, answer):
    return text[0] == answer["right"]


def test_a_grader_of_your_own(tmp_path, monkeypatch):
    import sys
    import types

    module = types.ModuleType("own_graders")
    module.passes_all, module.raises = passes_all, raises
    monkeypatch.setitem(sys.modules, "own_graders", module)
    found = list(data.grader(inspected(tmp_path, sums(), grader="own_graders:passes_all")))
    assert (Level.ERROR, "the grader passes an empty answer: choose another one (task.grader)") in found
    with pytest.raises(ConfigurationError, match=r"fails on the right answer '\d+' of problem .*: TypeError"):
        list(data.grader(inspected(tmp_path, sums(), grader="own_graders:raises")))
