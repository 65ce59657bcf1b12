"""Rewards group by group, and the figures of a rollout."""

import json

import pytest

from relay_core import ConfigurationError
from relay_core.evaluate.store import Journal
from relay_core.train.recipe import Grpo
from relay_core.train.rewards import Outcome, Scenario
from relay_core.train.scoring import GroupReward, score
from testing.tasks import FixedTask, problem

ALONE = Outcome(True, False, 0.0)
HELPED = Outcome(True, True, 0.25)
WRONG = Outcome(False, False, 0.0)
CALLED = Outcome(False, True, 0.25)
TWO = Grpo(group_size=2, prompts=2, updates=1)


def test_fault_05_a_group_is_scored_by_itself():
    lucky, stuck, lost = [ALONE, WRONG], [HELPED, WRONG], [CALLED, WRONG]
    ids = ["a", "a", "b", "b", "c", "c"]
    scored = score([*lucky, *stuck, *lost], ids, TWO)
    assert scored.rewards == [1.5, 0.0, 0.75, -1.0, 0.25, 0.0]
    assert scored.scenarios == [
        Scenario.STUDENT_SOLVABLE, Scenario.TEACHER_DEPENDENT, Scenario.TEACHER_UNSOLVABLE,
    ]  # fmt: skip
    # whatever the neighbours did
    assert score([*stuck, *lucky, *lost], ["b", "b", "a", "a", "c", "c"], TWO).rewards[:2] == [0.75, -1.0]


def test_the_switches_of_the_reward():
    group, ids = [ALONE, WRONG, CALLED, WRONG], ["a", "a", "b", "b"]

    def rewards(**switches):
        return score(group, ids, Grpo(group_size=2, prompts=2, updates=1, **switches)).rewards

    assert rewards(reward="simple") == [1.0, 0.0, -0.25, 0.0]
    assert rewards(independence_bonus=False) == [1.0, 0.0, 0.25, 0.0]
    assert rewards(exploration=False) == [1.5, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("ids", [["a", "b"], ["a", "a", "b"], ["a", "a", "b", "c"]])
def test_an_incomplete_group_is_refused(ids):
    with pytest.raises(ConfigurationError, match="whole group of 2"):
        score([WRONG] * len(ids), ids, TWO)


COLUMNS = {
    "text": ["\\boxed{1}", "\\boxed{2}", "\\boxed{1}", "\\boxed{1}"],
    "truncated": [False, False, True, False],
    "called": [False, False, False, True],
    "call_ratio": [0.0, 0.0, 0.0, 0.1],
    "requested": [[], [], [], [4, 6]],
    "calls": [0, 0, 0, 2],
    "malformed": [0, 1, 0, 0],
    "tokens": [50, 50, 50, 50],
    "teacher_tokens": [0, 0, 0, 5],
}


def test_the_reward_function_writes_its_figures(tmp_path):
    shown, logged = [], {}
    problems = [problem("a", 1, "medium"), problem("b", 1, "easy")]
    reward = GroupReward(FixedTask(problems), problems, TWO, Journal(tmp_path / "rollouts.jsonl"), show=shown.append)
    rewards = reward(problem=[1, 1, 0, 0], log_metric=logged.__setitem__, **COLUMNS)
    assert rewards == [1.5, 0.0, -1.0, 0.9]  # the truncated answer is wrong, though it holds the right number
    row = json.loads((tmp_path / "rollouts.jsonl").read_text())
    assert row["accuracy"] == 0.5 and row["accuracy/easy"] == 0.5 and row["called/medium"] == 0.5
    assert row["requested"] == 5 and row["call_ratio"] == pytest.approx(5 / 200)
    assert row["groups/student-solvable"] == row["groups/teacher-dependent"] == 0.5
    assert logged["relay/accuracy"] == 0.5 and "medium" in shown[0]
