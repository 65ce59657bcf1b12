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


def test_problems_of_one_cluster_are_drawn_together():
    # 1000 problems of 40 calculations, each answered alike: as good as 40 problems
    clusters = [f"sum/{i % 40}" for i in range(1000)]
    values = [float(i % 40 < 12) for i in range(1000)]
    mean = Resampling(clusters).estimate([values, [1.0] * 1000], ratio)
    alone = Resampling(40).estimate([[float(i < 12) for i in range(40)], [1.0] * 40], ratio)
    assert mean == alone and mean.value == 0.3
    assert mean.high - mean.low > 4 * np.diff(Resampling(1000).estimate([values, [1.0] * 1000], ratio).interval)


def test_a_problem_without_a_cluster_is_one_of_its_own():
    values = list(np.random.default_rng(0).random(50))
    assert Resampling([""] * 50).estimate([values], lambda s: s) == Resampling(50).estimate([values], lambda s: s)
    mixed = Resampling(["a", "", "b", "", "a"])
    assert mixed.clusters == 4 and mixed.estimate([[1.0, 2, 3, 4, 5]], lambda s: s).value == 15
