"""Reads a text back: what a model makes of each token of an answer, in one plain forward pass.

reading = await engine.read(prompt_ids, ids)        # TransformersEngine
reading.top_logprobs - reading.logprobs             # how far each token is from the model's own choice
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from relay_core.engines.transformers.head import distribution_features, facts_of
from relay_core.engines.transformers.heads import LastHidden
from relay_core.engines.transformers.plain_model import plain
from relay_core.errors import EngineError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ROWS = 128  # tokens whose distribution over the whole vocabulary is held in float32 at a time


@dataclass(frozen=True, eq=False)
class Reading:
    """What a model makes of T tokens, before each of them; float32, on the CPU.

    ``inputs``: what a head reads there (``head.py``), shape [T, hidden size + features]; ``None`` if they were not
    asked for. ``logprobs``: of the tokens, shape [T]. ``top_logprobs``: of the likeliest token at each place, shape
    [T]. ``end_gap``: by how much the likeliest end token is less likely than the likeliest token behind the text, in
    nats; ``inf`` if the model has no end token. ``facts``: what a head of this model must agree with.
    """

    inputs: torch.Tensor | None
    logprobs: torch.Tensor
    top_logprobs: torch.Tensor
    end_gap: float
    facts: Mapping[str, Any]


def read(
    model: PreTrainedModel,
    text: Sequence[int],
    count: int,
    end_ids: frozenset[int],
    between_steps: Callable[[], AbstractContextManager[object]],
    inputs: bool = True,
) -> Reading:
    """Read the last ``count`` ids of ``text``; blocks.

    Args:
        end_ids: the model's end tokens.
        between_steps: gives a context in which the model's manager makes no step.
        inputs: whether to compute what a head reads, too; a fifth of the time for a model of 135M parameters.

    Raises:
        EngineError: the model does not call its output embedding.
    """
    places, ids = count + 1, text[len(text) - count :]
    hidden_states = LastHidden(model)
    with between_steps(), plain(model), torch.no_grad():
        hidden_states.listen()
        try:
            tokens = torch.tensor([list(text)], device=model.device)
            logits = model(input_ids=tokens, use_cache=False, logits_to_keep=places).logits[0, -places:]
        finally:
            hidden = hidden_states.take()
    if hidden is None:
        raise EngineError(f"{type(model).__name__} does not call its output embedding")
    features, logprobs, tops = [], [], []
    for begin in range(0, places, _ROWS):
        rows = logits[begin : begin + _ROWS].float()
        normalizers = rows.logsumexp(-1)
        own = torch.tensor(ids[begin : begin + len(rows)], dtype=torch.long, device=model.device)
        tops.append(rows.amax(-1) - normalizers)
        logprobs.append(rows[: len(own)].gather(-1, own.unsqueeze(-1)).squeeze(-1) - normalizers[: len(own)])
        if inputs:
            features.append(distribution_features(rows - normalizers.unsqueeze(-1)))
    ends = [float(rows[-1, i] - normalizers[-1]) for i in end_ids if i < rows.shape[-1]]
    own_logprobs, top_logprobs = torch.cat(logprobs).cpu(), torch.cat(tops).cpu()
    end_gap = float(top_logprobs[-1]) - max(ends, default=-torch.inf)
    read_by_heads = None
    if inputs:
        hidden = hidden.flatten(0, -2)[-places:][: len(ids)].float().cpu()
        read_by_heads = torch.cat([hidden, torch.cat(features).cpu()[: len(ids)], own_logprobs.unsqueeze(-1)], -1)
    return Reading(read_by_heads, own_logprobs, top_logprobs[: len(ids)], end_gap, facts_of(model))
