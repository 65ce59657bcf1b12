"""Fits a head by logistic regression, and compares what it reads: everything, or only a part.

The weights of the hidden state are held small by an L2 penalty, which is chosen on a validation part; the few features
of the distribution are hardly penalised, so that a head whose weights of the hidden state are near 0 still reads the
student's own probabilities. A score is judged by its AUC: the probability that a wrong token has a higher score than a
right one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from relay_core.engines.transformers.head import FEATURES

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
_LIGHT = 1e-4  # the penalty of the features
_STEPS = 100  # of LBFGS


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens of answers.

    ``inputs``: what a head reads, shape [tokens, hidden size + features]. ``wrong``: whether the teacher objects, shape
    [tokens]. ``answers``: the number of the answer that holds each token, shape [tokens].
    """

    inputs: torch.Tensor
    wrong: torch.Tensor
    answers: torch.Tensor

    def part(self, chosen: torch.Tensor) -> Tokens:
        """The tokens of which ``chosen`` is true."""
        return Tokens(self.inputs[chosen], self.wrong[chosen], self.answers[chosen])


@dataclass(frozen=True, eq=False)
class Regression:
    """A logistic regression on some columns of the inputs; the weights of the others are 0."""

    weight: torch.Tensor
    bias: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor
    penalty: float

    def scores(self, inputs: torch.Tensor) -> torch.Tensor:
        """Log-odds of a wrong token, shape [tokens]."""
        return ((inputs - self.mean) / self.scale) @ self.weight + self.bias


def columns(size: int, part: str) -> torch.Tensor:
    """Which of ``size`` columns of the inputs are read: ``"both"``, ``"hidden"`` or ``"features"``; shape [size]."""
    is_feature = torch.arange(size) >= size - len(FEATURES)
    return {"both": torch.ones(size, dtype=torch.bool), "hidden": ~is_feature, "features": is_feature}[part]


def fit(train: Tokens, validation: Tokens, part: str) -> Regression:
    """Choose the penalty under which a fit to ``train`` predicts ``validation`` best; fit with it to both parts."""

    def loss(regression: Regression) -> float:
        scores = regression.scores(validation.inputs)
        return float(binary_cross_entropy_with_logits(scores, validation.wrong.float()))

    tried = [_fit_with(penalty, train, part) for penalty in (PENALTIES if part != "features" else PENALTIES[:1])]
    best = min(tried, key=loss)
    pairs = zip(vars(train).values(), vars(validation).values(), strict=True)
    return _fit_with(best.penalty, Tokens(*[torch.cat(pair) for pair in pairs]), part)


def _fit_with(penalty: float, tokens: Tokens, part: str) -> Regression:
    size = tokens.inputs.shape[1]
    chosen = columns(size, part)
    mean, scale = tokens.inputs.mean(0), tokens.inputs.std(0).clamp_min(1e-6)
    x, wrong = ((tokens.inputs - mean) / scale)[:, chosen], tokens.wrong.float()
    held = torch.where(columns(size, "features"), _LIGHT, penalty)[chosen]
    weight = torch.zeros(x.shape[1], requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = binary_cross_entropy_with_logits(x @ weight + bias, wrong) + 0.5 * (held * weight**2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    whole = torch.zeros(size)
    whole[chosen] = weight.detach()
    return Regression(whole, bias.detach(), mean, scale, penalty)


def auc(scores: np.ndarray, wrong: np.ndarray, counts: np.ndarray | None = None) -> float:
    """The probability that a wrong token has a higher score than a right one; a tie counts half.

    Args:
        scores, wrong: of each token.
        counts: how often each token is counted; once by default. Without wrong or without right tokens, the AUC is 0.5.
    """
    weights = np.ones(len(scores)) if counts is None else counts.astype(float)
    values, place = np.unique(scores, return_inverse=True)
    bad = np.bincount(place, weights * wrong, len(values))
    good = np.bincount(place, weights * ~wrong, len(values))
    if not bad.sum() or not good.sum():
        return 0.5
    below = np.cumsum(good) - good
    return float((bad * (below + good / 2)).sum() / (bad.sum() * good.sum()))


def auc_gain(
    better: np.ndarray, bare: np.ndarray, wrong: np.ndarray, answers: np.ndarray, *, draws: int = 500
) -> tuple[float, float]:
    """The bootstrap interval, over answers, of how much the AUC of one score exceeds that of another (95%)."""
    numbers, place = np.unique(answers, return_inverse=True)
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(draws):
        counts = np.bincount(rng.integers(len(numbers), size=len(numbers)), minlength=len(numbers))[place]
        gains.append(auc(better, wrong, counts) - auc(bare, wrong, counts))
    low, high = np.quantile(gains, [0.025, 0.975])
    return float(low), float(high)


def joined(parts: Sequence[Tokens]) -> Tokens:
    """The tokens of several answers."""
    return Tokens(*[torch.cat([getattr(part, name) for part in parts]) for name in ("inputs", "wrong", "answers")])
