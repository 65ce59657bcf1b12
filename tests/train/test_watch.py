import pytest

from relay_core.train.watch import RolloutWatch


def answer(problem="a", reward=0.0, correct=False, **values):
    return {
        "problem": problem, "reward": reward, "correct": correct, "dropped": False,
        "calls": 0, "refused": 0, "malformed": 0, **values,
    }  # fmt: skip


def test_a_first_rollout_without_a_command(capsys):
    watch = RolloutWatch(calls=True)
    watch([answer(), answer(reward=1.0, correct=True)])
    watch([answer(), answer(reward=1.0, correct=True)])
    (line,) = capsys.readouterr().err.splitlines()
    assert "no answer of this rollout holds a command" in line and "warmup.trainer.learning_rate" in line


@pytest.mark.parametrize("name", ["calls", "refused", "malformed"])
def test_a_command_of_any_kind_is_one(capsys, name):
    RolloutWatch(calls=True)([answer(), answer(**{name: 1})])
    RolloutWatch(calls=False)([answer(), answer()])
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("right", "says"), [((True, True), "too easy"), ((False, False), "too hard"), ((True, False), "all right or all")]
)
def test_three_rollouts_that_train_nothing(capsys, right, says):
    watch = RolloutWatch(calls=False)
    equal = [answer(p, float(r), r) for p, r in zip("ab", right, strict=True) for _ in range(2)]
    for rows in ([*equal, answer("a", 0.5)], equal, equal, [*equal, answer("a", 0.5)], equal, equal):
        watch(rows)
    assert not capsys.readouterr().err
    for _ in range(3):
        watch([*equal, answer("a", None, dropped=True)])
    (line,) = capsys.readouterr().err.splitlines()
    assert "in 3 rollouts in a row" in line and says in line and "train nothing" in line
