"""The figures of a rollout, on answers written by hand."""

import pytest

from relay_core.train.figures import figures
from testing.rollout_rows import DEPENDENT, HELPED, SOLVABLE, UNSOLVABLE, answer

ROWS = [
    answer("a", 0, group="easy", reward=1.5, tokens=40, teacher_tokens=0),
    answer("a", 1, HELPED, group="easy", reward=0.9, tokens=60, teacher_tokens=10, requested=[4, 20], received=[4, 6],
           calls=2, call_seconds=[0.5, 1.5], sampler_gap=0.5, sampler_gap_mean=0.2),
    answer("b", 0, group="hard", scenario=DEPENDENT, correct=False, truncated=True, reward=-1.0, tokens=100,
           teacher_tokens=0, malformed=2, sampler_gap=None, sampler_gap_mean=None),
    answer("b", 1, HELPED, group="hard", scenario=DEPENDENT, correct=None, truncated=True, dropped=True, reward=None,
           tokens=50, teacher_tokens=0, calls=1, failed_calls=1, requested=[9], received=[0], call_seconds=[40.0],
           refused=3, sampler_gap=0.1, sampler_gap_mean=0.1),
]  # fmt: skip


def test_shares_and_means():
    values = figures(ROWS, ["easy", "hard"], seconds=5.0)
    expected = {
        "accuracy": 2 / 3, "accuracy/easy": 1.0, "accuracy/hard": 0.0, "reward": 1.4 / 3,  # the dropped one left out
        "called": 1 / 3, "called/easy": 0.5, "called/hard": 0.0,
        "groups/student-solvable": 0.5, "groups/teacher-dependent": 0.5, "groups/teacher-unsolvable": 0.0,
        "reward/student-solvable": 1.2, "reward/teacher-dependent": -1.0,
        "call_ratio": 10 / 250, "calls": 3 / 4, "refused": 3 / 4, "failed_calls": 1 / 4, "malformed": 2 / 4,
        "requested": 11.0, "received": 10 / 3, "truncated": 0.5, "truncated_called": 0.25, "dropped": 0.25,
        "ungraded": 0.0,
        "tokens": 62.5, "student_tokens/mean": 60.0, "student_tokens/min": 40.0, "student_tokens/max": 100.0,
        "teacher_seconds/mean": 14.0, "teacher_seconds/p95": 40.0, "tokens_per_s": 50.0,
        "sampler_gap/mean": (1e-7 + 0.2 + 0.1) / 3, "sampler_gap/max": 0.5,
    }  # fmt: skip
    assert values == pytest.approx(expected)


def test_a_figure_with_nothing_to_average_is_left_out():
    values = figures([answer("a", 0, sampler_gap=None)])
    absent = {"requested", "received", "teacher_seconds/mean", "tokens_per_s", "sampler_gap/max", "accuracy/"}
    assert not absent & set(values) and values["accuracy"] == 1.0
    outage = figures([answer("a", k, HELPED, dropped=True, reward=None, scenario=None) for k in range(2)])
    assert outage["dropped"] == 1.0 and not {"accuracy", "reward", f"groups/{SOLVABLE}"} & set(outage)
    assert figures([]) == {"call_ratio": 0.0}


def test_scenarios_count_groups_and_not_answers():
    rows = [answer("a", k) for k in range(6)] + [answer("b", k, scenario=UNSOLVABLE, correct=False) for k in range(2)]
    values = figures(rows)
    assert values[f"groups/{SOLVABLE}"] == values[f"groups/{UNSOLVABLE}"] == 0.5


@pytest.mark.parametrize(("n", "expected"), [(1, 1.0), (19, 19.0), (20, 19.0), (100, 95.0)])
def test_the_95th_percentile_is_one_of_the_values(n, expected):
    rows = [answer("a", 0, call_seconds=[float(i) for i in range(n, 0, -1)])]
    assert figures(rows)["teacher_seconds/p95"] == expected


def test_problem_groups_stand_in_the_tasks_order():
    rows = [answer(name, 0, group=name) for name in ("zebra", "hard", "easy")]
    names = [name for name in figures(rows, ["easy", "hard"]) if name.startswith("accuracy/")]
    assert names == ["accuracy/easy", "accuracy/hard", "accuracy/zebra"]


def test_every_figure_is_named_in_the_modules_docstring():
    import relay_core.train.figures as module

    def names(words):
        for word in words:
            prefix, _, ends = word.rstrip(",").rpartition("/")
            yield from (f"{prefix}/{end}" if prefix else end for end in ends.split("|"))

    documented = set(names(module.__doc__.split()))
    for name in figures(ROWS, seconds=1.0):
        general = name.replace("easy", "NAME").replace("hard", "NAME")
        for scenario in (SOLVABLE, DEPENDENT, UNSOLVABLE):
            general = general.replace(scenario, "SCENARIO")
        assert general in documented, name
