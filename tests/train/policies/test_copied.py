"""``live`` with ``sampling_dtype``: the copy has the weights of the moment, with the adapter merged."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from relay_core import ConfigurationError, Prompt, Sampling, portal
from relay_core.train import models
from relay_core.train.policies.choice import policy_for
from relay_core.train.policies.copied import CopiedPolicy, copy_weights
from relay_core.train.recipe import build
from relay_core.train.sections import Lora
from testing.streams import collect

UNSHARDED = SimpleNamespace(state=SimpleNamespace())


def shaken(model: Any, seed: int) -> None:
    with torch.no_grad():
        for weights in model.parameters():
            if weights.requires_grad:
                weights += torch.randn(weights.shape, generator=torch.Generator().manual_seed(seed)) / 4


@pytest.mark.parametrize("rank", [0, 4])
def test_the_copy_answers_as_the_trained_weights_do(model_folder: Path, rank: int) -> None:
    model, tokenizer = models.trainable(str(model_folder), Lora(r=rank), str(model_folder), seed=0)
    policy = CopiedPolicy(tokenizer, "float32")
    trainer = SimpleNamespace(model=model, accelerator=UNSHARDED)
    policy.attach(trainer)
    ids = tokenizer.encode("What is 6 * 47?")
    rounds = []
    for seed in range(3):
        with policy.generating(trainer), torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0]
            torch.testing.assert_close(
                policy._copy(input_ids=torch.tensor([ids])).logits[0], logits, atol=1e-4, rtol=1e-4
            )
            tokens, _ = portal.run(collect, policy.engine, Prompt("", ids), Sampling(1))
        best = int(logits[-1].argmax())
        assert [t.id for t in tokens] == ([] if best == tokenizer.eos_token_id else [best])
        rounds.append(logits)
        shaken(model, seed)
    assert not torch.allclose(rounds[0], rounds[1]) and not torch.allclose(rounds[1], rounds[2])
    policy.release()


def test_the_copy_has_its_own_dtype_and_every_weight(model_folder: Path) -> None:
    model, tokenizer = models.load(str(model_folder))
    policy = CopiedPolicy(tokenizer, "bfloat16")
    copy = policy._decoding(model)
    shaken(model, 1)
    copy_weights(model, copy)
    for name, weight in model.named_parameters():
        copied = copy.get_parameter(name)
        assert copied.dtype is torch.bfloat16 and not copied.requires_grad
        torch.testing.assert_close(copied, weight.bfloat16())


def test_it_is_chosen_by_the_recipe(model_folder: Path) -> None:
    assert isinstance(policy_for(build({"grpo": {"sampling_dtype": "bfloat16"}}), None), CopiedPolicy)
    with pytest.raises(ConfigurationError, match=r"belongs to grpo\.policy: live"):
        build({"grpo": {"sampling_dtype": "bfloat16", "policy": "colocate"}})
    with pytest.raises(ConfigurationError, match="write bfloat16, float16, float32 or null"):
        build({"grpo": {"sampling_dtype": "bf16"}})
