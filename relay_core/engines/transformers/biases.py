"""Adds the logit biases of a batch's requests to their rows, and takes them away once the tokens are chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Biased:
    """The logits that were changed: entry ``i`` stood in row ``row[i]`` and column ``column[i]``, and was
    ``logits[i]``; shape [changes] each."""

    row: torch.Tensor
    column: torch.Tensor
    logits: torch.Tensor

    def undo(self, rows: torch.Tensor) -> None:
        """Put the logits back, in place, so that log-probabilities are those of the model."""
        rows[self.row, self.column] = self.logits


def add_biases(rows: torch.Tensor, biases: Sequence[Mapping[int, float] | None]) -> Biased | None:
    """Add each request's biases to its row, in place.

    Args:
        rows: logits, shape [requests, vocabulary].
        biases: of each request, by token id; ids that the model does not have are left out.

    Returns:
        what was changed; ``None`` if nothing was.
    """
    size = rows.shape[-1]
    changes = [(i, token, bias) for i, by_token in enumerate(biases) for token, bias in (by_token or {}).items()]
    changes = [change for change in changes if change[1] < size]
    if not changes:
        return None
    row, column, bias = (torch.tensor(values, device=rows.device) for values in zip(*changes, strict=True))
    logits = rows[row, column]
    rows[row, column] = logits + bias.to(logits.dtype)
    return Biased(row, column, logits)
