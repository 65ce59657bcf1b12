"""Fits the two layers of CITER's head to preferences.

The head reads the hidden state only; its weights for the features of the distribution (``head.py``) are 0. The loss is
the mean of -log p(preferred model). The number of units, the weight decay and the number of epochs are those of the
least loss on validation problems.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from relay_core.engines.transformers.head import Layer
from relay_core.evaluate.head_fit import Tokens, columns

UNITS = (32, 64, 128)
WEIGHT_DECAYS = (1e-3, 1e-2, 1e-1)
EPOCHS, PATIENCE, LEARNING_RATE = 40, 6, 3e-3
_BATCHES, _LEAST, _MOST = 64, 64, 2048  # batches of an epoch, and the sizes between which their size lies


@dataclass(frozen=True, eq=False)
class Mlp:
    """The fitted layers, in the shapes of :class:`~relay_core.engines.transformers.head.Head`, and what was chosen.

    ``loss``: on the validation tokens, in nats.
    """

    layer: Layer
    weight: torch.Tensor
    bias: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor
    units: int
    weight_decay: float
    epochs: int
    loss: float

    def scores(self, inputs: torch.Tensor) -> torch.Tensor:
        """Log-odds that the teacher is preferred, shape [tokens]."""
        hidden = (((inputs - self.mean) / self.scale) @ self.layer.weight.T + self.layer.bias).relu()
        return hidden @ self.weight + self.bias


def fit(
    train: Tokens,
    validation: Tokens,
    *,
    seed: int = 0,
    units: Sequence[int] | None = None,
    weight_decays: Sequence[float] | None = None,
    step: Callable[[], object] = lambda: None,
) -> Mlp:
    """Fit an MLP for each pair of units and weight decay to ``train``; returns the best on ``validation``.

    Args:
        train, validation: ``wrong`` says where the teacher is preferred; neither may be empty.
        units, weight_decays: ``UNITS`` and ``WEIGHT_DECAYS`` by default.
        seed: of the initial weights and of the order of the tokens.
        step: called after each pair.
    """
    tried = []
    for width, decay in product(units or UNITS, weight_decays or WEIGHT_DECAYS):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            tried.append(_fit_with(train, validation, width, decay))
        step()
    return min(tried, key=lambda mlp: mlp.loss)


def _fit_with(train: Tokens, validation: Tokens, units: int, weight_decay: float) -> Mlp:
    """One fit; its epochs end when the validation loss has not fallen for ``PATIENCE`` epochs."""
    size = train.inputs.shape[1]
    is_hidden = columns(size, "hidden")
    mean, scale = train.inputs.mean(0), train.inputs.std(0).clamp_min(1e-6)
    x, held_out = ((part.inputs - mean)[:, is_hidden] / scale[is_hidden] for part in (train, validation))
    target, held_out_target = train.wrong.float(), validation.wrong.float()
    model = torch.nn.Sequential(
        torch.nn.Linear(int(is_hidden.sum()), units), torch.nn.ReLU(), torch.nn.Linear(units, 1), torch.nn.Flatten(0)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=weight_decay)
    size_of_batch = min(_MOST, max(_LEAST, len(x) // _BATCHES))
    least, best, best_epoch = float("inf"), copy.deepcopy(model), 0
    for epoch in range(1, EPOCHS + 1):
        for batch in torch.randperm(len(x)).split(size_of_batch):
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(model(x[batch]), target[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            loss = float(binary_cross_entropy_with_logits(model(held_out), held_out_target))
        if loss < least:
            least, best, best_epoch = loss, copy.deepcopy(model), epoch
        elif epoch - best_epoch >= PATIENCE:
            break
    first = torch.zeros(units, size)
    first[:, is_hidden] = best[0].weight.detach()
    layer = Layer(first, best[0].bias.detach())
    last = best[2]
    return Mlp(
        layer, last.weight.detach()[0], last.bias.detach(), mean, scale, units, weight_decay, best_epoch, least
    )  # fmt: skip
