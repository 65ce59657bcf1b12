"""``live``: the engine answers with the weights of the moment, and gives the model and the memory back."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from relay_core import ConfigurationError, Prompt, Sampling, portal
from relay_core.train import models
from relay_core.train.policies.live import LivePolicy
from testing.streams import collect

UNSHARDED = SimpleNamespace(state=SimpleNamespace())


@pytest.mark.parametrize("frees_cache", [False, True])
def test_it_answers_with_the_present_weights(model_folder: Path, frees_cache: bool) -> None:
    model, tokenizer = models.load(str(model_folder))
    model.generation_config.eos_token_id = model.config.eos_token_id = tokenizer.eos_token_id
    policy = LivePolicy(tokenizer, frees_cache=frees_cache)
    trainer = SimpleNamespace(model=model, accelerator=UNSHARDED)
    policy.attach(trainer)
    ids = tokenizer.encode("What is 6 * 47?")
    answers = []
    model.train()
    for _ in range(3):
        with policy.generating(trainer):
            assert not model.training
            tokens, _ = portal.run(collect, policy.engine, Prompt("", ids), Sampling(12))
        assert model.training
        assert policy._live.running is not frees_cache, "the cache stays only where it may"
        answers.append([t.id for t in tokens])
        with torch.no_grad():
            expected = model.eval().generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)[0, len(ids) :]
            model.train()
            assert answers[-1] == [i for i in expected.tolist() if i != tokenizer.eos_token_id]
            for weights in model.parameters():
                weights += torch.randn(weights.shape, generator=torch.Generator().manual_seed(len(answers))) / 4
    assert answers[0] != answers[1] != answers[2]
    policy.release()
    assert not policy._live.running
    policy.release()


def test_on_a_gpu_the_cache_is_freed_and_on_a_cpu_it_stays(model_folder: Path) -> None:
    model, tokenizer = models.load(str(model_folder))
    policy = LivePolicy(tokenizer)
    policy.attach(SimpleNamespace(model=model, accelerator=UNSHARDED))
    assert policy._frees_cache is False
    on_gpu = SimpleNamespace(device=torch.device("cuda:1"))
    policy = LivePolicy(tokenizer)
    model.parameters = lambda: iter([on_gpu])
    policy.attach(SimpleNamespace(model=model, accelerator=UNSHARDED))
    assert policy._frees_cache is True


@pytest.mark.parametrize(
    ("state", "what"),
    [
        ({"fsdp_plugin": object()}, "FSDP"),
        ({"deepspeed_plugin": SimpleNamespace(zero_stage=3)}, "DeepSpeed ZeRO-3"),
        ({"deepspeed_plugin": SimpleNamespace(zero_stage=2)}, None),
        ({"fsdp_plugin": None, "deepspeed_plugin": None}, None),
    ],
)
def test_sharded_weights_are_refused(model_folder: Path, state: dict[str, Any], what: str | None) -> None:
    model, tokenizer = models.load(str(model_folder))
    trainer = SimpleNamespace(model=model, accelerator=SimpleNamespace(state=SimpleNamespace(**state)))
    policy = LivePolicy(tokenizer)
    if what is None:
        policy.attach(trainer)
        return
    with pytest.raises(ConfigurationError, match=f"live, but {what} .*colocate or server"):
        policy.attach(trainer)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_log_probabilities_are_those_of_the_loss(model_folder: Path, temperature: float) -> None:
    model, tokenizer = models.load(str(model_folder))
    policy = LivePolicy(tokenizer)
    policy.attach(SimpleNamespace(model=model, accelerator=UNSHARDED))
    ids = tokenizer.encode("What is 6 * 47?")
    for seed in range(50):  # until an answer does not end with its first token
        sampling = Sampling(12, temperature, seed=seed)
        tokens, _ = portal.run(collect, policy.engine, Prompt("", ids), sampling)
        if tokens:
            break
    raw, _ = portal.run(collect, policy._live, Prompt("", ids), sampling)
    policy.release()
    assert tokens and [t.id for t in raw] == [t.id for t in tokens]
    with torch.no_grad():
        logits = model.eval()(input_ids=torch.tensor([[*ids, *(t.id for t in tokens)]])).logits[0, len(ids) - 1 : -1]
    for scale, delivered in ((temperature, tokens), (1.0, raw)):
        expected = (logits / scale).log_softmax(-1)[range(len(tokens)), [t.id for t in tokens]]
        assert [t.logprob for t in delivered] == pytest.approx(expected.tolist(), abs=1e-4)
