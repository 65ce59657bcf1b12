"""Two layers fitted to preferences that one layer cannot express."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from relay_core.engines.transformers.head import FEATURES, Head
from relay_core.evaluate.citer import mlp
from relay_core.evaluate.head_fit import Tokens, auc


def tokens(n: int, seed: int) -> Tokens:
    """The teacher is preferred where two inputs have one sign: no line divides the two kinds."""
    inputs = torch.randn(n, 4 + len(FEATURES), generator=torch.Generator().manual_seed(seed))
    return Tokens(inputs, inputs[:, 0] * inputs[:, 1] > 0, torch.arange(n))


def test_it_finds_what_is_not_linear_and_reads_the_hidden_state_only() -> None:
    state = torch.random.get_rng_state()
    steps: list[int] = []
    train, validation, held_out = tokens(1500, 1), tokens(400, 2), tokens(400, 3)
    best = mlp.fit(train, validation, units=(1, 16), weight_decays=(1e-2,), step=lambda: steps.append(1))
    assert len(steps) == 2 and best.units == 16 and 1 <= best.epochs <= mlp.EPOCHS
    scores = best.scores(held_out.inputs)
    assert auc(scores.numpy(), held_out.wrong.numpy()) > 0.95
    loss = binary_cross_entropy_with_logits(best.scores(validation.inputs), validation.wrong.float())
    assert best.loss == pytest.approx(float(loss), abs=1e-4)
    changed = held_out.inputs.clone()
    changed[:, -len(FEATURES) :] += 9
    assert torch.equal(best.scores(changed), scores)
    head = Head(best.weight, best.bias, best.mean, best.scale, {}, layer=best.layer)
    torch.testing.assert_close(head.probabilities(held_out.inputs), scores.sigmoid())
    few = tokens(128, 4)
    first, again, other = (mlp.fit(few, few, units=(4,), weight_decays=(1e-2,), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.layer.weight, again.layer.weight)
    assert not torch.equal(first.layer.weight, other.layer.weight)
    assert torch.equal(state, torch.random.get_rng_state())
