"""TRL's GRPO trainer without forward passes over padding: the same log-probabilities, up to twice as fast.

TRL pads prompts on the left and answers on the right, to the longest prompt and answer of the rollout. This trainer
sorts the rows by length, scores them in chunks, and cuts each chunk to its longest prompt and answer. It cuts off only
padding, which is masked.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import pad
from trl import GRPOTrainer

CHUNK_ROWS = 32
"""Rows in one forward pass."""


class TrimmedGRPOTrainer(GRPOTrainer):  # type: ignore[misc]
    """TRL's trainer, with other shapes in its forward passes."""

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
        """Replaces TRL's method: of (B, P + C) ids, the last C = ``logits_to_keep`` are answers; returns (B, C)."""
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
        answers_at = input_ids.size(1) - logits_to_keep
        prompt_lengths, answer_lengths = attention_mask[:, :answers_at].sum(1), attention_mask[:, answers_at:].sum(1)
        order = torch.argsort(prompt_lengths + answer_lengths, stable=True)
        logps, entropies = [], []
        for rows in order.split(CHUNK_ROWS):
            longest_prompt, longest_answer = int(prompt_lengths[rows].max()), max(1, int(answer_lengths[rows].max()))
            kept = slice(answers_at - longest_prompt, answers_at + longest_answer)
            chunk_logps, chunk_entropies, _ = inner(
                model,
                input_ids[rows, kept],
                attention_mask[rows, kept],
                longest_answer,
                compute_entropy=compute_entropy,
            )
            padding = (0, logits_to_keep - longest_answer)
            logps.append(pad(chunk_logps, padding))
            if chunk_entropies is not None:
                entropies.append(pad(chunk_entropies, padding))
        original_order = torch.argsort(order)
        return (
            torch.cat(logps)[original_order],
            torch.cat(entropies)[original_order] if entropies else None,
            None,
        )
