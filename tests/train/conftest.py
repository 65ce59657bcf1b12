"""A tokenizer and a model of the bundled kind, small enough to be made in a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """The bundled tokenizer's kind, trained on a few problems."""
    from relay_core.bundled import task
    from relay_core.bundled import tokenizer as bundled_tokenizer

    texts = [m["content"] for p in task.problems(60) for m in p.messages] + [p.solution for p in task.problems(60)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundled_tokenizer, "corpus", lambda seed: [*texts, "system\nuser\nassistant\n", "<call>4</call>"])
        return bundled_tokenizer.train(0)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A folder with a tiny Qwen3, taught for a moment to give one short answer to everything and to end there."""
    import torch
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    from relay_core.train import models

    torch.manual_seed(0)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=1, head_dim=8, max_position_embeddings=1024,
            tie_word_embeddings=True, bos_token_id=None, dtype="float32", **ends,
        )
    )  # fmt: skip
    model.generation_config = GenerationConfig(do_sample=False, **ends)
    start = tokenizer("assistant\n<think>\n\n</think>\n\n").input_ids
    answer = [*tokenizer("The answer is \\boxed{5}.").input_ids, tokenizer.eos_token_id]
    ids = torch.tensor([start + answer])
    labels = torch.tensor([[-100] * len(start) + answer])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-2)
    for _ in range(250):
        optimizer.zero_grad()
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
    folder = tmp_path_factory.mktemp("models") / "tiny"
    models.save(model, tokenizer, folder)
    return folder
