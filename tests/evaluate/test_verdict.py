import random

import pytest

from relay_core.evaluate.verdict import Pays, Row, verdict


def rows(student, relay, teacher, costs=(1.0, 2.0, 10.0), n=200):
    rng = random.Random(0)
    draw = lambda p: float(rng.random() < p)  # noqa: E731
    return [Row(draw(student), draw(relay), draw(teacher), *costs) for _ in range(n)]


def judge(*args, calls=5, **options):
    return verdict(rows(*args, **options), score="accuracy", calls=calls)


def test_above_the_router_it_pays():
    v = judge(0.2, 0.7, 0.9)
    assert v.pays is Pays.YES and v.interval[0] > 0 and v.advantage == pytest.approx(0.7 - (0.2 + 0.7 / 9), abs=0.08)
    assert "sends 11% of the prompts whole to the teacher" in v.reason


def test_below_the_router_it_does_not():
    v = judge(0.2, 0.3, 0.9, costs=(1.0, 8.0, 10.0))
    assert v.pays is Pays.NO and v.interval[1] < 0 and "sends 78% of the prompts" in v.reason


def test_few_prompts_decide_nothing():
    v = judge(0.3, 0.4, 0.9, n=12)
    assert v.pays is Pays.UNDECIDED and v.reason.startswith("12 prompts are too few to tell by accuracy")


@pytest.mark.parametrize(
    ("scores", "options", "why"),
    [
        ((0.2, 0.7, 0.9), {"calls": 0}, "never called"),
        ((0.9, 0.9, 0.2), {}, "use the student"),
        ((0.2, 0.7, 0.9), {"costs": (5.0, 5.5, 5.0)}, "use the teacher"),
        ((0.2, 0.7, 0.9), {"costs": (1.0, 15.0, 10.0)}, "1.50 times as much as the teacher alone"),
    ],
)
def test_where_no_router_is_needed_to_say_no(scores, options, why):
    v = judge(*scores, **options)
    assert v.pays is Pays.NO and why in v.reason and v.advantage is None
