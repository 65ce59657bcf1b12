"""Models of Qwen3's published shapes with random weights, built on the device, and prompts of a given length.

As in ``random_pair.py``, the models write only words of the form `` word`` and never end an answer.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen3Config

from benchmarks.random_pair import word_ids, write_only
from relay_core.evaluate.task import Problem
from relay_core.tokenizer import Tokenizer

#: the values of the published config.json files that differ between sizes, under the names of Qwen3Config
_SIZES: dict[str, dict[str, Any]] = {
    "0.6B": {
        "hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "intermediate_size": 3072,
        "tie_word_embeddings": True,
    },
    "1.7B": {
        "hidden_size": 2048, "num_hidden_layers": 28, "num_attention_heads": 16, "intermediate_size": 6144,
        "tie_word_embeddings": True,
    },
    "8B": {
        "hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32, "intermediate_size": 12288,
        "tie_word_embeddings": False,
    },
}  # fmt: skip
#: for rehearsals; nearly all parameters are embeddings
_TINY = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "num_key_value_heads": 1, "head_dim": 8,
}  # fmt: skip

_cached_word_ids = cache(word_ids)  # it encodes every word of the vocabulary, for seconds


def build(size: str, tokenizer: Tokenizer, device: str, *, tiny: bool = False, seed: int = 0) -> PreTrainedModel:
    """A model in bfloat16, made on the device.

    Args:
        size: ``"0.6B"``, ``"1.7B"`` or ``"8B"``.
        tiny: build a model of two narrow layers instead, with the same vocabulary.
    """
    shared = {
        "vocab_size": 151_936,  # more than the tokenizer has; the further ids are never written
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 40_960,
        "rope_theta": 1_000_000.0,
        "eos_token_id": tokenizer.hf.eos_token_id,
        "pad_token_id": tokenizer.hf.pad_token_id,
        "bos_token_id": None,
    }
    config = Qwen3Config(**{**shared, **_SIZES[size], **(_TINY if tiny else {})})
    torch.manual_seed(seed)
    with torch.device(device):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        with torch.no_grad():
            write_only(model.get_output_embeddings().weight, _cached_word_ids(tokenizer))
    return model.eval().requires_grad_(False)


def cache_bytes_per_token(model: PreTrainedModel) -> int:
    """Bytes of the keys and values of one token."""
    config = model.config
    values: int = config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    return 2 * values * model.dtype.itemsize


@dataclass(frozen=True)
class RandomWords:
    """A task whose problems are random words; for speed alone, so no answer is right.

    Args:
        tokenizer: the models'.
        length: tokens of a problem; the chat template adds a few.
    """

    tokenizer: Tokenizer
    length: int
    name: str = "random words"
    groups: Sequence[str] = ()

    def problems(
        self, split: str, n: int | None = None, *, seed: int = 0, mix: Mapping[str, float] | None = None
    ) -> Sequence[Problem]:
        """``n`` problems, one by default; see :class:`relay_core.evaluate.task.Task`."""
        table, ids, rng = self.tokenizer.token_bytes, _cached_word_ids(self.tokenizer), random.Random(f"{split} {seed}")
        assert table is not None

        def problem(number: int) -> Problem:
            text = b"".join(table[i] for i in rng.choices(ids, k=self.length)).decode()
            return Problem(id=f"{seed}-{number}", messages=({"role": "user", "content": text},), answer="")

        return [problem(number) for number in range(n or 1)]

    def grade(self, text: str, problem: Problem) -> bool:
        """No answer is right."""
        return False
