"""Methods without their numbers become several with them, from training problems only."""

import pytest

from relay_core.errors import ConfigurationError
from relay_core.evaluate.answers import Answers
from relay_core.evaluate.methods.cascade import sureness
from relay_core.evaluate.tuning import Tuning
from testing.evaluations import PROBLEMS, FixedBenchmark, models


class TrainingOnly(FixedBenchmark):
    """Refuses to give any other problems."""

    def problems(self, split, n=None, *, seed=0, mix=None):
        if split != "train":
            raise AssertionError("the test problems were read")
        return PROBLEMS[:n]


def tuning(the_models=None, task=None, **options):
    options = {"settings": {}, "problems": 9, "ratios": (0.02, 0.1), "routed": (0.25, 0.75), **options}
    return Tuning(the_models or models("bundled"), task or TrainingOnly(), Answers(), **options)


async def test_what_has_its_numbers_stays_and_the_order_too():
    specs = ["teacher relay", "uncertain:0.4,8", "cascade:min,-1", "random-router:0.5", "random-tokens:0.1,2"]
    assert await tuning().methods(specs) == ["teacher", "relay", *specs[1:]]


async def test_rates_of_random_tokens_and_routers():
    assert await tuning().methods(["random-tokens random-router"]) == [
        "random-tokens:0.002545,8", "random-tokens:0.0137,8", "random-router:0.25", "random-router:0.75",
    ]  # fmt: skip


async def test_bounds_of_uncertain_come_from_the_untrained_students_doubts():
    the_models = models("bundled")
    (found,) = await tuning(the_models, ratios=(0.1,)).methods(["uncertain"])
    # the student is unsure (0.2) at the word "unknown" in five of nine answers, and sure (0.9) elsewhere
    assert 0.2 <= float(found.split(":")[1].split(",")[0]) <= 1 and found.endswith(",8")
    assert not the_models.student.requests and not the_models.teacher.requests


async def test_a_cascades_measure_and_bounds():
    low, high = await tuning().methods(["cascade"])
    assert low.startswith("cascade:") and high.split(",")[0] == low.split(",")[0]
    assert float(low.split(",")[1]) <= float(high.split(",")[1])


async def test_the_same_answers_serve_every_method():
    the_models = models("bundled")
    made = tuning(the_models)
    await made.methods(["uncertain cascade"])
    asked = len(the_models.base.requests)
    await made.methods(["uncertain cascade"])
    assert len(the_models.base.requests) == asked
    graded = await made.graded()
    assert [right for _, right in graded] == [True] * 4 + [False] * 5
    assert all(sureness(outcome, "min") <= sureness(outcome, "mean") for outcome, _ in graded)


async def test_a_task_without_training_problems_says_what_to_write():
    class TestOnly(FixedBenchmark):
        def problems(self, split, n=None, *, seed=0, mix=None):
            raise ConfigurationError("it has one split, test")

    with pytest.raises(ConfigurationError, match="another --tune-on"):
        await tuning(task=TestOnly()).methods(["uncertain"])
