import numpy as np
import pytest

from relay_core.evaluate.report.resampling import Resampling, ratio


def test_the_interval_of_a_mean_is_that_of_theory():
    values = [1.0] * 300 + [0.0] * 700
    mean = Resampling(1000).estimate([values, [1.0] * 1000], ratio)
    assert mean.value == 0.3
    half = 1.96 * (0.3 * 0.7 / 1000) ** 0.5
    assert mean.low == pytest.approx(0.3 - half, abs=0.003) and mean.high == pytest.approx(0.3 + half, abs=0.003)


def test_the_same_seed_draws_the_same_and_pairs_stay_together():
    values = list(np.random.default_rng(0).random(50))
    one, again, other = (Resampling(50, seed=seed).estimate([values], lambda s: s) for seed in (0, 0, 1))
    assert one == again != other
    difference = Resampling(50).estimate([values, values], lambda a, b: a - b)
    assert difference.value == 0 and difference.interval == (0, 0)


def test_a_draw_that_gives_no_number_is_left_out():
    estimate = Resampling(3, draws=500).estimate([[1.0, 0, 0], [1.0, 0, 0]], np.divide)
    assert estimate.interval == (1, 1)  # a draw without the first problem would be 0 / 0
    nothing = Resampling(3).estimate([[0.0] * 3, [0.0] * 3], np.divide)
    assert np.isnan(nothing.value) and np.isnan(nothing.low)
    assert float(ratio(1.0, 0.0)) == 0


def test_many_problems_are_no_burden():
    estimate = Resampling(20_000, draws=400).estimate([np.ones(20_000), np.ones(20_000)], ratio)
    assert estimate.interval == (1, 1)
