import json

import pytest

from relay_core import ConfigurationError, EngineError, Relay, RelaySettings, ScriptedEngine
from relay_core.train.data_filter import kept, pass_rates
from relay_core.train.jobs import jobs_for
from relay_core.train.sections import Filter
from testing.graders import none_of_it
from testing.tasks import FixedTask, problem

PROBLEMS = [problem(name, "yes", "easy") for name in ("always", "half", "never")]
CONFIG = Filter(samples=4)
TASK = FixedTask(PROBLEMS, grader=str.__eq__)


class Teacher:
    """Answers by the problem's name; counts what it was asked."""

    def __init__(self, qwen3, fails_after=None, **settings):
        self.asked = self.halves = 0
        self.fails_after = fails_after
        self.relay = Relay(ScriptedEngine(self.script, qwen3, record=True), None, RelaySettings(**settings))

    def script(self, prompt):
        self.asked += 1
        if self.fails_after is not None and self.asked > self.fails_after:
            return [EngineError("killed")]
        name = prompt.messages[-1]["content"]
        if name == "half":
            self.halves += 1
            return "yes" if self.halves % 2 else "no"
        return "yes" if name == "always" else "no"


def rates(teacher, folder, problems=PROBLEMS, config=CONFIG):
    jobs = jobs_for(problems, config.samples, run_seed=0, stage="filter")
    return pass_rates(teacher.relay, TASK, jobs, folder, config)


def rows(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_pass_rates_and_answers_are_written(qwen3, tmp_path):
    teacher = Teacher(qwen3, top_p=0.5, top_k=3)  # the student's own sampling: not the teacher's
    assert rates(teacher, tmp_path) == [1.0, 0.5, 0.0]
    assert rows(tmp_path / "rates.jsonl")[1] == {
        "i": 1, "key": "half", "band": "easy", "passed": 2, "samples": 4, "rate": 0.5, "ungraded": 0,
    }  # fmt: skip
    assert [(row["i"], row["k"]) for row in rows(tmp_path / "answers.jsonl")] == [
        (i, k) for i in range(3) for k in range(4)
    ]
    assert {(s.temperature, s.top_p, s.top_k) for _, s in teacher.relay.student.requests} == {(0.7, 0.95, None)}
    assert len({s.seed for _, s in teacher.relay.student.requests}) == 12
    assert [p.id for p in kept(PROBLEMS, [1.0, 0.5, 0.0], 0.5)] == ["always", "half"]


def test_a_truncated_answer_is_wrong_whatever_it_holds(qwen3, tmp_path):
    relay = Relay(ScriptedEngine("yes yes yes", qwen3), None, RelaySettings(max_tokens=1))
    task = FixedTask(PROBLEMS, grader=lambda text, answer: text == answer)
    jobs = jobs_for(PROBLEMS[:1], 2, run_seed=0, stage="filter")
    assert pass_rates(relay, task, jobs, tmp_path, Filter(samples=2)) == [0.0]
    assert [(row["text"], row["truncated"], row["correct"]) for row in rows(tmp_path / "answers.jsonl")] == [
        ("yes", True, False)
    ] * 2


def test_a_killed_run_resumes(qwen3, tmp_path):
    with pytest.raises(EngineError, match="killed"):
        rates(Teacher(qwen3, fails_after=6), tmp_path)
    answered = len(rows(tmp_path / "answers.parts" / "part-0.jsonl"))
    assert answered == 6 and not (tmp_path / "answers.jsonl").exists()
    teacher = Teacher(qwen3)
    assert rates(teacher, tmp_path)[::2] == [1.0, 0.0]
    assert teacher.asked == 6
    assert not (tmp_path / "answers.parts").exists()
    assert rates(Teacher(qwen3, fails_after=0), tmp_path)[::2] == [1.0, 0.0]


def test_answers_to_other_problems_are_refused(qwen3, tmp_path):
    rates(Teacher(qwen3), tmp_path)
    with pytest.raises(ConfigurationError, match="other problems"):
        rates(Teacher(qwen3), tmp_path, problems=PROBLEMS[::-1])
    with pytest.raises(ConfigurationError, match="other problems"):
        rates(Teacher(qwen3), tmp_path, config=Filter(samples=3))


def test_no_problem_left_is_an_error():
    with pytest.raises(
        ConfigurationError, match=r"passes none of 3 .*rate is 0\.4.*filter\.keep, or write --no-filter"
    ):
        kept(PROBLEMS, [0.4, 0.0, 0.1], 0.5)


def test_an_answer_that_cannot_be_graded_counts_neither_way(qwen3, tmp_path):
    answers = iter(["yes", "?", "no", "?"] + ["?"] * 4)
    relay = Relay(ScriptedEngine(lambda prompt: next(answers), qwen3), None, RelaySettings())
    problems = [problem("a", "yes"), problem("b", "yes")]
    jobs = jobs_for(problems, 4, run_seed=0, stage="filter")
    pass_rates(relay, FixedTask(problems, none_of_it), jobs, tmp_path, CONFIG)
    graded = rows(tmp_path / "rates.jsonl")
    assert sum(row["ungraded"] for row in graded) == [row["correct"] for row in rows(tmp_path / "answers.jsonl")].count(
        None
    )
    assert sum(row["ungraded"] for row in graded) == 6 and sum(row["passed"] for row in graded) == 1
    assert all(row["rate"] == row["passed"] / max(1, 4 - row["ungraded"]) for row in graded)
