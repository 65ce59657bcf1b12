"""GRPO without reading padding: the same log-probabilities from half the work, where lengths differ much.

TRL pads every prompt on the left and every answer on the right to the longest of the rollout. Here rows of like
length are scored together, each chunk cut to its own longest; what was cut off is masked anyway.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import pad
from trl import GRPOTrainer

ROWS = 32
"""Rows scored together."""


class TrimmedGRPOTrainer(GRPOTrainer):  # type: ignore[misc]
    """TRL's trainer; only the shape of its forward passes differs."""

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **others: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """As TRL's, for (B, P + C) ids whose last C = ``logits_to_keep`` are answers; shapes (B, C)."""
        inner = super()._get_per_token_logps_and_entropies
        if compute_aux_loss or any(value is not None for value in others.values()):
            return inner(  # type: ignore[no-any-return]
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                batch_size,
                compute_entropy,
                compute_aux_loss,
                **others,
            )
        prompt = input_ids.size(1) - logits_to_keep
        asked, answered = attention_mask[:, :prompt].sum(1), attention_mask[:, prompt:].sum(1)
        order = torch.argsort(asked + answered, stable=True)
        logps, entropies = [], []
        for rows in order.split(ROWS):
            p, c = int(asked[rows].max()), max(1, int(answered[rows].max()))
            cut = slice(prompt - p, prompt + c)
            some, entropy, _ = inner(
                model, input_ids[rows, cut], attention_mask[rows, cut], c, compute_entropy=compute_entropy
            )
            logps.append(pad(some, (0, logits_to_keep - c)))
            if entropy is not None:
                entropies.append(pad(entropy, (0, logits_to_keep - c)))
        back = torch.argsort(order)
        return torch.cat(logps)[back], torch.cat(entropies)[back] if entropies else None, None
