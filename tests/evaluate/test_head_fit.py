"""Logistic regressions on made-up tokens, and what they are judged by."""

import numpy as np
import pytest
import torch

from relay_core.engines.transformers.head import FEATURES
from relay_core.evaluate.head_fit import Tokens, auc, auc_gain, columns, fit, joined

SIZE = 12  # of the hidden state


def made(n: int, *, by: str, seed: int) -> Tokens:
    """n answers of 20 tokens; which of them are wrong depends on the hidden state or on the probability, with noise."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(20 * n, SIZE, generator=generator)
    top = torch.rand(20 * n, generator=generator)
    features = torch.stack([top, 1 - top, top, top.log()], -1)
    signal = 2 * hidden[:, 3] - hidden[:, 5] if by == "hidden" else 8 * (0.5 - top)
    wrong = torch.rand(20 * n, generator=generator) < torch.sigmoid(signal - 1)
    return Tokens(torch.cat([hidden, features], -1), wrong, torch.arange(n).repeat_interleave(20))


def aucs(by: str) -> tuple[dict[str, float], tuple[float, float]]:
    train, validation, held_out = (made(n, by=by, seed=seed) for seed, n in enumerate((40, 15, 40)))
    wrong = held_out.wrong.numpy()
    scores = {
        part: fit(train, validation, part).scores(held_out.inputs).numpy() for part in ("features", "hidden", "both")
    }
    scores["bare"] = 1 - held_out.inputs[:, SIZE].numpy()
    gain = auc_gain(scores["both"], scores["bare"], wrong, held_out.answers.numpy())
    return {name: auc(score, wrong) for name, score in scores.items()}, gain


def test_a_head_finds_what_only_the_hidden_state_knows() -> None:
    found, (low, high) = aucs("hidden")
    assert found["bare"] < 0.6 and found["features"] < 0.6 < 0.85 < found["hidden"] and found["both"] > 0.85
    assert 0.2 < low < found["both"] - found["bare"] < high


def test_a_head_is_no_better_where_the_probability_says_it_all() -> None:
    found, (low, high) = aucs("probability")
    assert found["hidden"] < 0.6 < 0.8 < found["bare"] and found["both"] == pytest.approx(found["bare"], abs=0.02)
    assert low <= 0 and high < 0.02


def test_the_penalty_is_chosen_on_other_tokens_and_spares_the_features() -> None:
    train, validation = made(2, by="probability", seed=5), made(30, by="probability", seed=6)
    regression = fit(train, validation, "both")
    assert regression.penalty >= 1.0, "40 tokens say nothing about 12 numbers"
    assert regression.weight[:SIZE].abs().max() < 0.1 < regression.weight[SIZE:].abs().max()


def test_a_part_reads_nothing_else() -> None:
    tokens = made(5, by="hidden", seed=1)
    assert fit(tokens, tokens, "hidden").weight[SIZE:].tolist() == [0.0] * len(FEATURES)
    assert not fit(tokens, tokens, "features").weight[:SIZE].any()
    assert columns(6, "hidden").tolist() == [True, True, *[False] * 4] and columns(6, "both").all()


def test_auc_is_the_probability_that_a_wrong_token_scores_higher() -> None:
    scores, wrong = np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, True, False, True])
    assert auc(scores, wrong) == (1 + 0.5 + 1 + 1) / 4
    assert auc(-scores, wrong) == 1 - auc(scores, wrong)
    assert auc(scores, wrong, np.array([2, 1, 0, 3])) == 1.0, "a count of 0 leaves a token out"
    assert auc(scores, np.zeros(4, bool)) == auc(scores, np.ones(4, bool)) == 0.5


def test_the_gain_is_drawn_over_answers_and_repeats() -> None:
    """Ten answers whose tokens are all alike are ten observations, not two hundred."""
    rng = np.random.default_rng(1)
    answers = np.repeat(np.arange(10), 20)
    wrong = np.tile(np.arange(20) % 2 == 0, 10)
    good = np.where(rng.random(10)[answers] < 0.5, wrong, ~wrong).astype(float)
    bare = np.zeros(200)
    low, high = auc_gain(good, bare, wrong, answers)
    assert (low, high) == auc_gain(good, bare, wrong, answers)
    assert high - low > 0.4
    by_token = auc_gain(good, bare, wrong, np.arange(200))
    assert by_token[1] - by_token[0] < 0.3


def test_tokens_of_answers_are_joined_in_order() -> None:
    one, other = made(1, by="hidden", seed=1), made(2, by="hidden", seed=2)
    both = joined([one, other])
    assert len(both.wrong) == 60 and torch.equal(both.inputs[20:], other.inputs)
