"""Muon for the matrices inside the layers, AdamW for the rest, as one optimizer for Hugging Face's Trainer.

For warm-up only: a small student that has never seen a command learns to write one, and to read past it, in a
quarter of AdamW's steps. GRPO keeps the paper's AdamW.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from relay_core.bundled.muon import Muon


class MuonAndAdamW(torch.optim.Optimizer):  # type: ignore[misc]
    """Two optimizers whose groups are one list, so that a schedule scales the rates of both.

    Args:
        model: its two-dimensional parameters, embeddings and head apart, go to Muon.
        matrix_lr: Muon's learning rate.
        lr: AdamW's.
        betas, weight_decay: AdamW's.
    """

    def __init__(
        self, model: Any, *, matrix_lr: float, lr: float, betas: tuple[float, float], weight_decay: float
    ) -> None:
        inner = [p for name, p in model.named_parameters() if p.dim() == 2 and not _is_table(name)]
        mine = {id(p) for p in inner}
        outer = [p for p in model.parameters() if id(p) not in mine]
        self._parts: tuple[torch.optim.Optimizer, torch.optim.Optimizer] = (
            Muon(inner, lr=matrix_lr),
            torch.optim.AdamW(outer, lr=lr, betas=betas, weight_decay=weight_decay),
        )
        super().__init__([group for part in self._parts for group in part.param_groups], {})

    def step(self, closure: Callable[[], float] | None = None) -> None:
        if closure is not None:
            closure()
        for part in self._parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self._parts for group in part.param_groups]


def _is_table(name: str) -> bool:
    return "embed" in name or "lm_head" in name
