"""What each source trains on, by `warmup.source`; the sources themselves have their own tests."""

import json

import pytest

from relay_core import ConfigurationError, ScriptedEngine
from relay_core.train import sources
from relay_core.train.jobs import jobs_for
from relay_core.train.recipe import build
from relay_core.train.supervised import IGNORED
from testing.reading_teacher import ReadingTeacher, follows
from testing.tasks import FixedTask, problem

ALONE = "It is 292."


def recipe(source, **relay):
    values = {"max_tokens": 40, "on_teacher_stop": "continue", **relay}
    return build({"warmup": {"source": source}, "relay": values})


def rows(recipe, student, teacher, folder):
    task = FixedTask(grader=lambda text, answer: text.endswith("282."))
    jobs = jobs_for([problem("6 * 47?", 282)], 1, run_seed=0, stage="warmup")
    return sources.training_rows(recipe, task, student, teacher, jobs, folder)


def guided_pair(qwen3):
    student = ScriptedEngine(follows({"": ALONE, "It is 282": "."}), qwen3)
    return student, ReadingTeacher("282", qwen3, {ALONE: ["It is "]})


def test_random_takes_the_samples_and_no_teacher(qwen3, tmp_path):
    assert not sources.calls_teacher(recipe("random"))
    (row,) = rows(recipe("random"), ScriptedEngine(ALONE, qwen3), None, tmp_path)
    assert [i for i in row["labels"] if i != IGNORED] == row["input_ids"][row["labels"].count(IGNORED) :]
    assert json.loads((tmp_path / "rows.json").read_text()) == {"source": "random", "answers": 1, "rows": 1}
    with pytest.raises(ConfigurationError, match=r"ended: raise relay\.max_tokens"):
        rows(recipe("random", max_tokens=3), ScriptedEngine(ALONE, qwen3), None, tmp_path / "cut")


def test_guided_reports_what_it_took(qwen3, tmp_path):
    student, teacher = guided_pair(qwen3)
    (row,) = rows(recipe("guided"), student, teacher, tmp_path)
    assert "It is <call>3</call>282." in qwen3.decode(row["input_ids"])
    prompt = row["labels"].index(next(label for label in row["labels"] if label != IGNORED))
    in_call = prompt + len(qwen3.encode("It is "))
    read = prompt + len(qwen3.encode(ALONE)) + 1 + in_call  # with the end token; then for the call
    assert json.loads((tmp_path / "rows.json").read_text()) == {
        "source": "guided", "answers": 1, "rows": 1, "right_alone": 0, "rows_with_calls": 1, "calls": 1,
        "mean_n": 3.0, "unaided": 0, "unsolved": 0, "samples": 2, "ungraded": 0, "teacher_wrote": 3,
        "teacher_read": read,
    }  # fmt: skip


@pytest.mark.parametrize(("share", "own"), [(0.0, 0), (0.5, 2), (1.0, 4)])
def test_guided_trains_on_a_share_of_the_students_own_answers(qwen3, tmp_path, share, own):
    values = {"max_tokens": 40, "on_teacher_stop": "continue"}
    config = build({"warmup": {"source": "guided", "unaided": share}, "relay": values})
    task = FixedTask(grader=lambda text, answer: text.endswith("282."))
    jobs = jobs_for([problem(f"6 * 47, {i}?", 282) for i in range(4)], 1, run_seed=0, stage="warmup")
    for _ in range(2):  # the second time from the disk
        made = sources.training_rows(config, task, *guided_pair(qwen3), jobs, tmp_path)
        texts = [qwen3.decode([i for i in row["labels"] if i != IGNORED]) for row in made]
        assert sum("<call>3</call>" in text for text in texts) == 4
        assert sum(text.startswith(ALONE) for text in texts) == own and len(texts) == 4 + own
    assert json.loads((tmp_path / "rows.json").read_text())["unaided"] == own
    with pytest.raises(ConfigurationError, match=r"warmup\.unaided is 2.*at most 1"):
        build({"warmup": {"source": "guided", "unaided": 2}})


def test_guided_trains_on_own_answers_to_problems_that_no_call_solved(qwen3, tmp_path):
    def grade(text, answer):
        return text.endswith("282.") and answer == "solved"

    task = FixedTask(grader=grade)
    jobs = jobs_for([problem(f"{i}?", "solved" if i else "no") for i in range(3)], 1, run_seed=0, stage="warmup")
    for share, own in ((0, 0), (1, 1)):
        config = build({
            "warmup": {"source": "guided", "unsolved": share},
            "relay": {"max_tokens": 40, "on_teacher_stop": "continue"},
        })  # fmt: skip
        made = sources.training_rows(config, task, *guided_pair(qwen3), jobs, tmp_path / str(share))
        texts = [qwen3.decode([i for i in row["labels"] if i != IGNORED]) for row in made]
        assert sum("<call>3</call>" in text for text in texts) == 2
        assert sum(text.startswith(ALONE) for text in texts) == own and len(texts) == 2 + own
        assert json.loads((tmp_path / str(share) / "rows.json").read_text())["unsolved"] == own


def test_guided_leaves_out_a_row_that_its_commands_make_too_long(qwen3, tmp_path):
    longest = len(qwen3.encode("It is 282.")) + 1 + len(qwen3.encode("<call>3</call>"))
    assert len(rows(recipe("guided", max_tokens=longest), *guided_pair(qwen3), tmp_path / "fits")) == 1
    with pytest.raises(ConfigurationError, match="none of them with a call"):
        rows(recipe("guided", max_tokens=longest - 1), *guided_pair(qwen3), tmp_path / "too-long")


def test_told_takes_right_answers(qwen3, tmp_path):
    student = ScriptedEngine([["It is <call>8</call>"], ["."]], qwen3)
    (row,) = rows(recipe("told"), student, ScriptedEngine("282", qwen3), tmp_path)
    assert "It is <call>3</call>282." in qwen3.decode(row["input_ids"])
    report = json.loads((tmp_path / "rows.json").read_text())
    assert (report["right"], report["calls"], report["teacher_wrote"]) == (1, 1, 3)


def test_answers_takes_the_teachers(qwen3, tmp_path):
    student = ReadingTeacher("", qwen3, {"It is 282.": ["It is "]})
    config = recipe("answers")
    (row,) = rows(config, student, ScriptedEngine("It is 282.", qwen3), tmp_path)
    assert "It is <call>3</call>282." in qwen3.decode(row["input_ids"])
    ids, labels = row["input_ids"], row["labels"]
    assert qwen3.decode([i for i in labels if i != IGNORED]) == "It is <call>3</call>."
    assert labels[-1] == qwen3.hf.eos_token_id
    assert all(label in (IGNORED, i) for label, i in zip(labels, ids, strict=True))
    report = json.loads((tmp_path / "rows.json").read_text())
    wrote = len(qwen3.encode("It is 282.")) + 1
    assert (report["right"], report["calls"], report["teacher_wrote"]) == (1, 1, wrote)
    longest = len(qwen3.encode("It is 282.")) + 1 + len(qwen3.encode("<call>3</call>"))
    with pytest.raises(ConfigurationError, match=r"0 of 1 answers can be trained on.*raise warmup\.below"):
        rows(recipe("answers", max_tokens=longest - 1), student, ScriptedEngine("It is 282.", qwen3), tmp_path / "cut")


def test_rows_without_a_single_call_teach_nothing(qwen3, tmp_path):
    with pytest.raises(ConfigurationError, match=r"1 of 1 answers ended right, none.*--warmup.source guided"):
        rows(recipe("told"), ScriptedEngine("It is 282.", qwen3), ScriptedEngine("", qwen3), tmp_path)


def test_what_cannot_work_is_refused_before_anything_is_sampled(qwen3):
    with pytest.raises(ConfigurationError, match="cannot: write a teacher in this process"):
        sources.check(recipe("guided"), ScriptedEngine("x", qwen3))
    with pytest.raises(ConfigurationError, match="did you mean"):
        sources.check(build({"warmup": {"source": "told", "instructions": "calculatons"}}), ScriptedEngine("x"))
    sources.check(recipe("random"), None)
    sources.check(recipe("guided"), guided_pair(qwen3)[1])
