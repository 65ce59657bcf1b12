import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.train.rewards import Outcome, Scenario, difficulty_aware, scenario, simple

RHO = 0.25
ALONE = Outcome(correct=True, called=False, call_ratio=0.0)
HELPED = Outcome(correct=True, called=True, call_ratio=RHO)
WRONG = Outcome(correct=False, called=False, call_ratio=0.0)
WRONG_CALL = Outcome(correct=False, called=True, call_ratio=RHO)

outcomes = st.lists(
    st.one_of(
        st.builds(Outcome, st.booleans(), st.just(True), st.floats(0, 1)),
        st.builds(Outcome, st.booleans(), st.just(False), st.just(0.0)),
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ([ALONE, HELPED, WRONG, WRONG_CALL], [1.5, 1 - RHO, 0.0, 0.0]),  # student-solvable
        ([HELPED, WRONG, WRONG_CALL], [1 - RHO, -1.0, 0.0]),  # teacher-dependent
        ([WRONG, WRONG_CALL], [0.0, RHO]),  # teacher-unsolvable
    ],
)
def test_difficulty_aware_cell_by_cell(group, expected):
    assert difficulty_aware(group) == expected


def test_without_independence_bonus_only_the_first_cell_changes():
    assert difficulty_aware([ALONE, HELPED, WRONG, WRONG_CALL], independence_bonus=False) == [1.0, 1 - RHO, 0.0, 0.0]
    assert difficulty_aware([HELPED, WRONG, WRONG_CALL], independence_bonus=False) == [1 - RHO, -1.0, 0.0]
    assert difficulty_aware([WRONG, WRONG_CALL], independence_bonus=False) == [0.0, RHO]


def test_without_exploration_only_the_last_cell_changes():
    assert difficulty_aware([ALONE, HELPED, WRONG, WRONG_CALL], exploration=False) == [1.5, 1 - RHO, 0.0, 0.0]
    assert difficulty_aware([HELPED, WRONG, WRONG_CALL], exploration=False) == [1 - RHO, -1.0, 0.0]
    assert difficulty_aware([WRONG, WRONG_CALL], exploration=False) == [0.0, 0.0]


def test_simple():
    assert simple([ALONE, HELPED, WRONG, WRONG_CALL]) == [1.0, 1 - RHO, 0.0, -RHO]


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ([ALONE, WRONG], Scenario.STUDENT_SOLVABLE),
        ([ALONE, HELPED], Scenario.STUDENT_SOLVABLE),
        ([HELPED, WRONG], Scenario.TEACHER_DEPENDENT),
        ([WRONG_CALL, WRONG], Scenario.TEACHER_UNSOLVABLE),
    ],
)
def test_scenario(group, expected):
    assert scenario(group) is expected


@pytest.mark.parametrize("function", [scenario, simple, difficulty_aware])
def test_an_empty_group_is_refused(function):
    with pytest.raises(ValueError, match="without answers"):
        function([])


@given(outcomes)
def test_order_does_not_matter_and_nothing_leaves_the_table(group):
    rewards = difficulty_aware(group)
    assert difficulty_aware(group[::-1]) == rewards[::-1]
    for o, r in zip(group, rewards, strict=True):
        assert r in {1.5, -1.0, 0.0, 1 - o.call_ratio, o.call_ratio}
        assert r <= 0 or o.correct or scenario(group) is Scenario.TEACHER_UNSOLVABLE
