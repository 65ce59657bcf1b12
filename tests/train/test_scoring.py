"""Rewards, group by group."""

import pytest

from relay_core import ConfigurationError
from relay_core.train.rewards import Outcome, Scenario
from relay_core.train.scoring import GroupReward, score
from relay_core.train.sections import Grpo
from testing.graders import none_of_it
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
    assert scored.scenarios[::2] == scored.scenarios[1::2] == [
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


def test_an_answer_whose_call_failed_takes_no_part_in_its_group():
    three = Grpo(group_size=3, prompts=2, updates=1)
    # right after a failed call: without it the group is unsolvable, and the wrong answer without a call costs nothing
    scored = score([None, WRONG, CALLED, None, None, None], ["a"] * 3 + ["b"] * 3, three)
    assert scored.rewards == [None, 0.0, 0.25, None, None, None]
    assert scored.scenarios == [None, *[Scenario.TEACHER_UNSOLVABLE] * 2, None, None, None]


def test_the_bill_is_what_the_answer_costs():
    config = Grpo(group_size=2, prompts=1, updates=1, reward="bill", bill_scale=4.0)
    problems = [problem("a", 1, "easy")]
    reward = GroupReward(FixedTask(problems), problems, config)
    columns = {**{name: values[:2] for name, values in COLUMNS.items()}, "cost": [1.0, 3.0]}
    assert reward(problem=[0, 0], **columns) == [0.75, -0.75]


@pytest.mark.parametrize(
    ("text", "malformed"), [("1 <call>3858", 0), ("1 8</call>", 0), ("1 <call></call>", 1), ("1", 1)]
)
def test_a_command_that_is_none_costs_its_penalty(text, malformed):
    config = Grpo(group_size=2, prompts=1, updates=1, reward="simple", broken_penalty=0.25)
    problems = [problem("a", "1", "easy")]
    reward = GroupReward(FixedTask(problems, grader=lambda text, answer: text.startswith(answer)), problems, config)
    columns = {
        "text": ["1", text], "truncated": [False] * 2, "dropped": [False] * 2, "called": [False] * 2,
        "call_ratio": [0.0] * 2, "cost": [None] * 2, "malformed": [0, malformed],
    }  # fmt: skip
    assert reward(problem=[0, 0], **columns) == [1.0, 0.75]


@pytest.mark.parametrize("ids", [["a", "b"], ["a", "a", "b"], ["a", "a", "b", "c"]])
def test_an_incomplete_group_is_refused(ids):
    with pytest.raises(ConfigurationError, match="whole group of 2"):
        score([WRONG] * len(ids), ids, TWO)


COLUMNS = {
    "text": ["\\boxed{1}", "\\boxed{2}", "\\boxed{1}", "\\boxed{1}", "\\boxed{1}", "\\boxed{1}"],
    "truncated": [False, False, True, False, False, False],
    "dropped": [False, False, False, False, True, False],
    "called": [False, False, False, True, False, False],
    "call_ratio": [0.0, 0.0, 0.0, 0.1, 0.0, 0.0],
    "cost": [None] * 6,
    "malformed": [0] * 6,
}


def test_answers_are_graded_and_scored_in_their_groups():
    problems = [problem("a", 1, "medium"), problem("b", 1, "easy"), problem("c", 2, "easy")]
    reward = GroupReward(FixedTask(problems), problems, TWO)
    rewards = reward(problem=[1, 1, 0, 0, 2, 2], **COLUMNS)
    assert rewards == [1.5, 0.0, -1.0, 0.9, None, 0.0]  # the truncated one is wrong, though it holds the right number
    assert [row["correct"] for row in reward.rows] == [True, False, False, True, None, False]
    assert [row["k"] for row in reward.rows] == [0, 1] * 3
    assert [row["problem"] for row in reward.rows] == ["b", "b", "a", "a", "c", "c"]
    assert reward.rows[3] == {
        "problem": "a", "group": "medium", "k": 1, "correct": True, "dropped": False, "ungraded": False,
        "reward": 0.9, "scenario": "teacher-dependent",
    }  # fmt: skip
    assert reward.rows[4]["scenario"] is None and reward.rows[4]["dropped"] and not reward.rows[4]["ungraded"]


def test_an_answer_that_cannot_be_graded_is_dropped_and_its_group_scored_without_it():
    problems = [problem("a", 1, "easy")]
    reward = GroupReward(FixedTask(problems, none_of_it), problems, Grpo(group_size=3, prompts=1, updates=1))
    columns = {name: values[:3] for name, values in COLUMNS.items()}
    columns |= {"text": ["?", "2", "?"], "called": [False] * 3}  # the third is cut off, and so it is wrong
    assert reward(problem=[0] * 3, **columns) == [None, 0.0, 0.0]
    assert [(row["dropped"], row["ungraded"], row["correct"]) for row in reward.rows] == [
        (True, True, None), (False, False, False), (False, False, False),
    ]  # fmt: skip
