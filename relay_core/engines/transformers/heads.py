"""Computes the heads of a step: one per request that carries one, on the hidden states of the whole batch.

A forward pre-hook on the model's output embedding takes the hidden states, and is there only in steps in which some
request carries a head. Other steps run no code of this module.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from relay_core.engines.transformers.head import Head, distribution_features
from relay_core.errors import EngineError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class LastHidden:
    """The input of a model's output embedding in the next forward pass, which is its last hidden state.

    Some models scale or cap the logits behind this layer (Cohere, Gemma 2); the hidden state is the same.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._handle: Any = None
        self._value: torch.Tensor | None = None

    def listen(self) -> None:
        """Note the hidden states of the next forward pass."""
        if self._handle is None:
            layer = self._model.get_output_embeddings()
            self._handle = layer.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._value = args[0] if args else next(iter(kwargs.values()))

    def take(self) -> torch.Tensor | None:
        """The noted hidden states, shape [1, tokens, hidden size]; ``None`` if the model did not use the layer."""
        if self._handle is not None:
            self._handle.remove()
        value, self._handle, self._value = self._value, None, None
        return value


class HeadedRows:
    """The rows of a step whose requests carry a head.

    Args:
        heads: the head of each row, ``None`` for a row without one.
        rows: logits before constraints, shape [rows, vocabulary].
        normalizers: the logarithm of the sum of their exponentials, shape [rows].
        hidden: what :meth:`LastHidden.take` returned.

    Raises:
        EngineError: the hidden states are not those of the rows.
    """

    def __init__(
        self,
        heads: Sequence[Head | None],
        rows: torch.Tensor,
        normalizers: torch.Tensor,
        hidden: torch.Tensor | None,
        step_size: int,
    ) -> None:
        if hidden is None or hidden.shape[:-1].numel() != step_size:
            found = "none" if hidden is None else f"{hidden.shape[:-1].numel()}"
            raise EngineError(f"the output embedding read {found} of the {step_size} hidden states of the step")
        self._heads = heads
        self.indices = [i for i, head in enumerate(heads) if head is not None]
        self._hidden = hidden.flatten(0, -2)[self.indices].float()
        self._features = distribution_features(rows[self.indices] - normalizers[self.indices].unsqueeze(-1))

    def probabilities(self, logprobs: torch.Tensor) -> list[float | None]:
        """Each row's probability by its head; ``None`` for a row without a head.

        Args:
            logprobs: those of the sampled tokens, shape [rows].
        """
        inputs = torch.cat([self._hidden, self._features, logprobs[self.indices].unsqueeze(-1)], -1)
        by_head: dict[Head, list[int]] = defaultdict(list)
        for place, i in enumerate(self.indices):
            head = self._heads[i]
            assert head is not None
            by_head[head].append(place)
        computed: list[float | None] = [None] * len(self._heads)
        for head, places in by_head.items():
            for place, probability in zip(places, head.probabilities(inputs[places]).tolist(), strict=True):
                computed[self.indices[place]] = probability
        return computed
