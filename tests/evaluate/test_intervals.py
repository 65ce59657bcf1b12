import random

import pytest

from relay_core.evaluate.intervals import bootstrap, wilson


def test_wilson_gives_the_published_values():
    # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I, method 3
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_bootstrap_of_a_mean_is_as_wide_as_the_normal_interval():
    rng = random.Random(1)
    sample = [rng.gauss(5, 2) for _ in range(400)]
    mean = sum(sample) / 400
    low, high = bootstrap(sample, lambda drawn: sum(drawn) / len(drawn))
    assert low < mean < high and high - low == pytest.approx(2 * 1.96 * 2 / 20, rel=0.15)
    assert (low, high) == bootstrap(sample, lambda drawn: sum(drawn) / len(drawn))
