"""Masks of the tokens that constrained requests may write next; they are computed during the model's forward pass.

A thread computes the masks of all constrained requests of a step together; llguidance releases Python's lock meanwhile.
If no request has a constraint, no code of this module runs, and there is no thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch

from relay_core.engines.transformers.grammars import Grammar, failure
from relay_core.errors import EngineError

if TYPE_CHECKING:
    from llguidance import LLExecutor


class Masks:
    """The masks of one manager's requests.

    Args:
        device: the device of the logits. On a CPU, the thread unpacks the masks; other devices receive packed masks.
    """

    def __init__(self, device: torch.device) -> None:
        self._unpacks = device.type == "cpu"
        self._thread: ThreadPoolExecutor | None = None
        self._executor: LLExecutor | None = None

    def prepare(self, grammars: Sequence[Grammar]) -> None:
        """Begin computing the masks of the next step."""
        if not grammars:
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "relay-masks")
        try:
            masks = self._thread.submit(self._compute, list(grammars))
        except RuntimeError:  # the interpreter exits, and takes no more work for threads
            masks = Future()
            masks.set_result(self._compute(grammars))
        for row, grammar in enumerate(grammars):
            grammar.mask = masks, row

    def apply(self, rows: torch.Tensor, grammars: Sequence[tuple[int, Grammar]]) -> list[tuple[int, Exception]]:
        """Set the logits of forbidden tokens to -inf, in place.

        Args:
            rows: logits, shape [requests, vocabulary].
            grammars: the constrained requests, each with its row.

        Returns:
            the rows whose grammar has failed, each with its error; these rows are not changed.
        """
        self.prepare([grammar for _, grammar in grammars if grammar.mask is None])
        masks, held, failed = [], [], []
        for i, grammar in grammars:
            try:
                masks.append(_mask(grammar))
                held.append(i)
            except Exception as error:  # one grammar failed: this ends only its request, not others of the batch
                failed.append((i, error))
        if held:
            forbidden = _forbidden(torch.stack(masks).to(rows.device), rows.shape[-1])
            if len(held) == len(rows):
                rows.masked_fill_(forbidden, -torch.inf)
            else:
                rows[held] = rows[held].masked_fill(forbidden, -torch.inf)
        return failed

    def _compute(self, grammars: Sequence[Grammar]) -> torch.Tensor:
        """The masks of ``grammars``: forbidden tokens [grammars, tokens], or packed bits of allowed ones."""
        import llguidance.numpy as ll
        import numpy as np
        from llguidance import LLExecutor

        if self._executor is None:
            self._executor = LLExecutor()
        bits = ll.allocate_token_bitmask(len(grammars), grammars[0].size)
        matchers = [(grammar.matcher, row) for row, grammar in enumerate(grammars)]
        ll.fill_next_token_bitmask_par(self._executor, matchers, bits)
        packed = bits.view(np.uint8)
        if not self._unpacks:
            return torch.from_numpy(packed)
        return torch.from_numpy(np.unpackbits(packed, axis=1, bitorder="little") == 0)


def _mask(grammar: Grammar) -> torch.Tensor:
    """The row of ``grammar`` in the masks of its step; waits for the thread if necessary."""
    assert grammar.mask is not None
    masks, row = grammar.mask
    mask = masks.result()[row]
    if grammar.matcher.is_error():
        raise failure(grammar.matcher)
    if mask.all() if mask.dtype is torch.bool else not mask.any():
        raise EngineError("the constraint cannot be followed: no token of the vocabulary leads on")
    return mask


def _forbidden(masks: torch.Tensor, width: int) -> torch.Tensor:
    """Which of ``width`` tokens are forbidden, shape [masks, width]; tokens beyond the vocabulary are forbidden."""
    if masks.dtype is not torch.bool:
        shifts = torch.arange(8, dtype=torch.uint8, device=masks.device)
        masks = ((masks.unsqueeze(-1) >> shifts) & 1).flatten(1) == 0
    if masks.shape[1] < width:
        masks = torch.nn.functional.pad(masks, (0, width - masks.shape[1]), value=True)
    return masks[:, :width]
