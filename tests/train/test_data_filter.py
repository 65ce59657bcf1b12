import itertools
import json

import pytest

from relay_core import ConfigurationError, EngineError, Relay, ScriptedEngine
from relay_core.evaluate.store import Journal
from relay_core.train.data_filter import kept, pass_rates
from relay_core.train.recipe import Filter
from testing.tasks import FixedTask, problem

PROBLEMS = [problem(name, "yes", "easy") for name in ("always", "half", "never")]
CONFIG = Filter(samples=4)
TASK = FixedTask(PROBLEMS, grader=str.__eq__)


class Teacher:
    """Answers by the problem's name; counts what it was asked."""

    def __init__(self, qwen3, fails_after=None):
        self.half = itertools.cycle(["yes", "no"])
        self.asked = 0
        self.fails_after = fails_after
        self.relay = Relay(ScriptedEngine(self.script, qwen3, record=True), None)

    def script(self, prompt):
        self.asked += 1
        if self.fails_after is not None and self.asked > self.fails_after:
            return [EngineError("killed")]
        name = prompt.messages[-1]["content"]
        return next(self.half) if name == "half" else "yes" if name == "always" else "no"


def rates(teacher, path, problems=PROBLEMS, config=CONFIG, limit=1):
    return pass_rates(teacher.relay, TASK, problems, Journal(path), config, limit=limit)


def test_pass_rates_are_written_to_the_journal(qwen3, tmp_path):
    teacher, path = Teacher(qwen3), tmp_path / "filter.jsonl"
    assert rates(teacher, path) == [1.0, 0.5, 0.0]
    assert [json.loads(line) for line in path.read_text().splitlines()][1] == {
        "i": 1, "key": "half", "band": "easy", "passed": 2, "samples": 4, "rate": 0.5,
    }  # fmt: skip
    assert {(s.temperature, s.top_p) for _, s in teacher.relay.student.requests} == {(0.7, 0.95)}
    assert [p.id for p in kept(PROBLEMS, [1.0, 0.5, 0.0], 0.5)] == ["always", "half"]


def test_a_killed_run_resumes(qwen3, tmp_path):
    path = tmp_path / "filter.jsonl"
    with pytest.raises(EngineError, match="killed"):
        rates(Teacher(qwen3, fails_after=6), path)
    assert len(path.read_text().splitlines()) == 1  # the one problem that was asked to the end
    teacher = Teacher(qwen3)
    assert rates(teacher, path) == [1.0, 0.5, 0.0]
    assert teacher.asked == 8
    assert rates(Teacher(qwen3, fails_after=0), path) == [1.0, 0.5, 0.0]


def test_pass_rates_of_other_problems_are_refused(qwen3, tmp_path):
    path = tmp_path / "filter.jsonl"
    rates(Teacher(qwen3), path)
    with pytest.raises(ConfigurationError, match="other problems"):
        rates(Teacher(qwen3), path, problems=PROBLEMS[::-1])
    with pytest.raises(ConfigurationError, match="other problems"):
        rates(Teacher(qwen3), path, config=Filter(samples=5))


def test_no_problem_left_is_an_error():
    with pytest.raises(ConfigurationError, match="passes none of 3"):
        kept(PROBLEMS, [0.4, 0.0, 0.1], 0.5)
