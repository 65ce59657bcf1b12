"""The teacher and the base student before training: small Qwen3 models whose first layer helps the model to copy
text."""

from __future__ import annotations

from typing import Any

from relay_core.bundled.pretrain_recipe import PretrainRecipe


def new_model(recipe: PretrainRecipe, tokenizer: Any, seed: int) -> Any:
    """A Qwen3ForCausalLM with the recipe's sizes, its weights drawn from ``seed``."""
    import torch
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.intermediate,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        head_dim=recipe.head_dim,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        initializer_range=0.04,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        dtype="float32",
    )
    model = Qwen3ForCausalLM(config)
    attend_to_previous_tokens(model)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    return model


def attend_to_previous_tokens(model: Any, offsets: tuple[int, ...] = (1, 2, 3)) -> None:
    """Set heads of the first layer so that they attend to the tokens 1, 2 and 3 places back.

    To copy ("a lamp costs 47" ... "a lamp costs"), a model needs such heads in the layer before the one that finds the
    earlier text, and a small model spends most of its training on learning them. This function adds a common direction
    to every embedding. The queries and keys of these heads read mostly this direction, so their product depends mainly
    on the distance between two tokens. The phase of the query places the maximum of the product at the head's offset.

    Args:
        model: a Qwen3ForCausalLM; changed in place.
        offsets: the distances at which the heads attend, one head per distance.
    """
    import torch

    config, attention = model.config, model.model.layers[0].self_attn
    size, half = config.head_dim, config.head_dim // 2
    groups = config.num_attention_heads // config.num_key_value_heads
    rates = 10000.0 ** (-torch.arange(half) / half)
    weights = torch.tensor([3.0, 3.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0] + [0.0] * (half - 8))
    with torch.no_grad():
        table = model.model.embed_tokens.weight
        common = torch.randn(config.hidden_size).sign()
        table += config.initializer_range * common
        for head, offset in enumerate(offsets):
            query = torch.cat([weights * (rates * offset).cos(), -weights * (rates * offset).sin()])
            key = torch.cat([weights, torch.zeros(half)])
            kv = head // groups
            q_rows = attention.q_proj.weight[head * size : (head + 1) * size]
            k_rows = attention.k_proj.weight[kv * size : (kv + 1) * size]
            for rows, vector in ((q_rows, query), (k_rows, key)):
                rows.mul_(0.2).add_(torch.outer(vector, common) / config.hidden_size**0.5 * 0.5)
        attention.q_norm.weight.fill_(2.0)
        attention.k_norm.weight.fill_(2.0)
