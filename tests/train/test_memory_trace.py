"""The pass on tensors without data, against a real pass of the same model."""

import pytest
import torch
from transformers import Qwen3Config

from relay_core.train.memory_trace import pass_bytes


def config(**values):
    return Qwen3Config(**{
        "vocab_size": 512, "hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "tie_word_embeddings": True, **values,
    })  # fmt: skip


def took(shape=None, **values):
    options = {"rows": 4, "length": 32, "device": "cpu", "autocast": False, "checkpointing": False}
    return pass_bytes(config(**(shape or {})), **{**options, "with_gradients": True, **values})


def saved_by_a_real_pass(rows, length):
    """Bytes that autograd keeps between the forward and the backward pass, weights left out."""
    from transformers import Qwen3ForCausalLM

    model = Qwen3ForCausalLM(config())
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    saved = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        mask = torch.ones(rows, 1, length, length, dtype=torch.bool)
        output = model.base_model(input_ids=torch.ones(rows, length, dtype=torch.int64), attention_mask=mask)
    del output
    return sum(saved.values())


def test_it_holds_what_a_real_pass_keeps():
    kept = saved_by_a_real_pass(4, 32)
    assert kept < took() < 2 * kept  # the rest is temporary: the head's tile and the gradients in flight


def test_it_grows_with_tokens_and_layers():
    assert took(rows=8) == pytest.approx(2 * took(), rel=0.15)
    deep = took({"num_hidden_layers": 8})
    assert 1.5 * took() < deep < 2.2 * took()


def test_checkpointing_keeps_one_layer():
    assert took({"num_hidden_layers": 16}, checkpointing=True) < 0.3 * took({"num_hidden_layers": 16})


def test_bfloat16_takes_less_and_a_gpus_head_no_copies():
    deep = {"num_hidden_layers": 12}
    assert took(deep, autocast=True) < 0.85 * took(deep)
    wide = {"vocab_size": 32768}
    assert took(wide, device="cuda") < 0.5 * took(wide, device="cpu")


def test_without_gradients_from_before_less_is_held():
    wide = {"vocab_size": 32768}
    assert took(wide, with_gradients=False) < took(wide)
