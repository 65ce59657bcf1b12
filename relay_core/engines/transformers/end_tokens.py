"""The tokens at which a model ends its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay_core.tokenizer import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def end_ids_of(model: PreTrainedModel, tokenizer: Tokenizer) -> frozenset[int]:
    """The end tokens that the model's configs and its tokenizer name."""
    ids: list[Any] = [tokenizer.hf.eos_token_id]
    for config in (model.generation_config, model.config):
        value = getattr(config, "eos_token_id", None)
        ids += value if isinstance(value, list) else [value]
    return frozenset(int(i) for i in ids if i is not None)
