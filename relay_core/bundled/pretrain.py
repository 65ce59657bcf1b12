"""The training loop of the teacher and the base student: from nothing, in float32, on the CPU.

Muon for the layers' matrices, AdamW for the rest; a warm-up, a plateau, a linear decay to zero.
Checkpoints hold the optimisers and the position in the corpus, are written beside their place and
then renamed into it, so a run that was killed goes on from the last one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay_core.bundled import corpus


@dataclass(frozen=True)
class Recipe:
    """Sizes and schedule of one model."""

    role: corpus.Role
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    steps: int
    lr: float  # of AdamW
    matrix_lr: float  # of Muon
    batch_tokens: int
    warmup: int = 50
    decay: float = 0.35  # share of the steps over which the rate falls to zero
    head_dim: int = 32  # what vLLM's CPU attention takes


RECIPES: dict[str, Recipe] = {
    "teacher": Recipe("teacher", 160, 4, 5, 5, 480, steps=7000, lr=4e-3, matrix_lr=0.015, batch_tokens=1500),
    "student-base": Recipe("student", 64, 2, 4, 2, 160, steps=12000, lr=6e-3, matrix_lr=0.02, batch_tokens=2000),
}


def new_model(recipe: Recipe, tokenizer: Any, seed: int) -> Any:
    """A Qwen3ForCausalLM with fresh weights."""
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
    look_back(model)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    return model


def look_back(model: Any, offsets: tuple[int, ...] = (1, 2, 3)) -> None:
    """Start the first layer with heads that attend to the token 1, 2, 3 places before.

    Copying ("a lamp costs" … "a lamp costs 47") needs such heads in the layer before the one that
    matches, and finding them takes a small model most of its training. Every embedding is given a
    common direction; queries and keys read only that, so their product depends on the distance
    alone, and the query's phase puts its peak at the wanted one.
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


def rate(recipe: Recipe, step: int) -> float:
    """The share of the learning rates that is used at a step."""
    left = (recipe.steps - step) / (recipe.steps * recipe.decay)
    return min(1.0, (step + 1) / recipe.warmup, left)


def tensors(batch: list[corpus.Example], pad: int) -> tuple[Any, Any]:
    """Ids and labels, padded on the right: causal attention needs no mask then."""
    import torch

    width = max(len(e.ids) for e in batch)
    ids = torch.full((len(batch), width), pad)
    labels = torch.full((len(batch), width), corpus.IGNORED)
    for i, e in enumerate(batch):
        ids[i, : len(e.ids)] = torch.tensor(e.ids)
        labels[i, : len(e.ids)] = torch.tensor(e.labels)
    return ids, labels


def loss_of(model: Any, ids: Any, labels: Any) -> Any:
    """Cross-entropy of the labelled tokens; logits are made only where there is a label."""
    import torch.nn.functional as F

    targets = labels[:, 1:]
    wanted = targets != corpus.IGNORED
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    return F.cross_entropy(model.lm_head(hidden[wanted]), targets[wanted])


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all."""
    import torch

    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """A complete model folder: configs, tokenizer, chat template, safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def train(
    recipe: Recipe,
    tokenizer: Any,
    *,
    seed: int,
    folder: Path,
    checkpoint_s: float = 60.0,
    report_every: int = 25,
    report: Callable[[int, float, float], None] = lambda step, loss, seconds: None,
) -> Any:
    """Train to the recipe's end, from the checkpoint in `folder` if there is one.

    `report` is given the step, the mean loss since the last report and the seconds trained.
    """
    import torch

    from relay_core.bundled.muon import Muon

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "checkpoint.pt"
    model = new_model(recipe, tokenizer, seed)
    inner = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    outer = [p for n, p in model.named_parameters() if p.dim() != 2 or "embed" in n]
    optimizers = (
        Muon(inner, lr=recipe.matrix_lr),
        torch.optim.AdamW(outer, lr=recipe.lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    )
    step, seconds, position = 0, 0.0, (0, 0)
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved_state in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved_state)
        step, seconds, position = state["step"], state["seconds"], state["position"]
    began, saved = time.monotonic() - seconds, time.monotonic()
    losses: list[float] = []
    model.train()
    data = corpus.batches(tokenizer, recipe.role, seed, recipe.batch_tokens, start=position)
    while step < recipe.steps:
        for optimizer, lr in zip(optimizers, (recipe.matrix_lr, recipe.lr), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = lr * rate(recipe, step)
        batch, position = next(data)
        loss = loss_of(model, *tensors(batch, tokenizer.pad_token_id))
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
        step += 1
        if step % report_every == 0 or step == recipe.steps:
            report(step, sum(losses) / len(losses), time.monotonic() - began)
            losses.clear()
        if time.monotonic() - saved > checkpoint_s or step == recipe.steps:
            state = {
                "model": model.state_dict(),
                "optimizers": [o.state_dict() for o in optimizers],
            }
            save_state(path, {**state, "step": step, "position": position, "seconds": time.monotonic() - began})
            saved = time.monotonic()
    return model.eval()
