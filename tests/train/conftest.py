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
        patch.setattr(
            bundled_tokenizer, "training_texts", lambda seed: [*texts, "system\nuser\nassistant\n", "<call>4</call>"]
        )
        return bundled_tokenizer.train(0)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A folder with a tiny random Qwen3 that ends its answer with every tenth token or so."""
    import torch
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    from relay_core.engines.model_folder import save_model

    torch.manual_seed(0)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=1, head_dim=8, max_position_embeddings=1024,
            tie_word_embeddings=False, bos_token_id=None, dtype="float32", **ends,
        )
    )  # fmt: skip
    model.generation_config = GenerationConfig(do_sample=False, **ends)
    with torch.no_grad():  # every state points into one direction, to which only the end token answers
        model.model.embed_tokens.weight[:, 0] += 2.0
        model.lm_head.weight[:, 0] = 0.0
        model.lm_head.weight[tokenizer.eos_token_id, 0] = 1.2
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(model, tokenizer, folder)
    return folder
