"""Sizes and training schedules of the two models that are trained from random weights."""

from __future__ import annotations

from dataclasses import dataclass

from relay_core.keys import Role


@dataclass(frozen=True)
class PretrainRecipe:
    """Sizes and schedule of one model.

    Attributes:
        role: the model's role in the pair, which determines its corpus.
        hidden: size of the residual stream.
        layers: number of layers.
        heads: attention heads per layer.
        kv_heads: heads of keys and values per layer.
        intermediate: hidden size of the feed-forward part.
        steps: optimizer steps.
        lr: AdamW's learning rate (embeddings and gains).
        matrix_lr: Muon's learning rate (the layers' matrices).
        batch_tokens: tokens per step, padding included.
        warmup: steps over which both rates rise from zero.
        decay: share of the steps over which both rates fall to zero at the end.
        head_dim: size of a head; 32 is a size that vLLM's attention on CPUs accepts.
    """

    role: Role
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    steps: int
    lr: float
    matrix_lr: float
    batch_tokens: int
    warmup: int = 50
    decay: float = 0.35
    head_dim: int = 32

    def rate(self, step: int) -> float:
        """The factor by which both learning rates are multiplied at ``step``."""
        until_the_end = (self.steps - step) / (self.steps * self.decay)
        return min(1.0, (step + 1) / self.warmup, until_the_end)


RECIPES: dict[str, PretrainRecipe] = {
    "teacher": PretrainRecipe("teacher", 160, 4, 5, 5, 480, steps=7000, lr=4e-3, matrix_lr=0.015, batch_tokens=1500),
    "student-base": PretrainRecipe(
        "student", 64, 2, 4, 2, 160, steps=12000, lr=6e-3, matrix_lr=0.02, batch_tokens=2000
    ),
}
