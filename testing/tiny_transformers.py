"""Tiny random models for transformers, on which an engine's tokens can be compared with transformers' own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from relay_core.engines.base import Chunk, Prompt, Sampling
from relay_core.engines.transformers import TransformersEngine
from relay_core.tokenizer import Tokenizer
from testing import streams

TEXT = "Anna has 12 apples and gives 5 of them to Ben. <call>3</call> So 12 - 5 = 7, naïve café 🙂. " * 8
PROMPTS = [[7, 8, 9, 10] * 6, [40, 41, 42], list(range(20, 60))]


def make_tokenizer() -> Tokenizer:
    raw = RawTokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False))
    return Tokenizer(PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>"), "tiny")


def make_model(seed: int = 0, **changes: Any) -> Qwen3ForCausalLM:
    torch.manual_seed(seed)
    config = Qwen3Config(
        **{
            "vocab_size": 300,  # the end token has id 300, so the model never samples it
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": 256,
            "initializer_range": 0.3,
            "bos_token_id": None,
            "eos_token_id": None,
            "pad_token_id": None,
            **changes,
        }
    )
    return Qwen3ForCausalLM(config).eval()


async def collect(
    engine: TransformersEngine, ids: Sequence[int], max_tokens: int = 40, **sampling: Any
) -> tuple[list[int], Chunk, list[Any]]:
    """The ids, the last chunk and all tokens of one stream."""
    tokens, chunk = await streams.collect(engine, Prompt("", ids), Sampling(max_tokens, **sampling))
    return [t.id for t in tokens], chunk, tokens


def generate(model: Qwen3ForCausalLM, ids: Sequence[int], max_tokens: int = 40, **options: Any) -> list[int]:
    """The ids that transformers' own greedy ``generate`` writes."""
    prompt = torch.tensor([list(ids)])
    with torch.no_grad():
        out = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=max_tokens, do_sample=False, **options
        )
    return [int(i) for i in out[0, len(ids) :]]


def logprobs_of(model: Qwen3ForCausalLM, prompt: Sequence[int], ids: Sequence[int]) -> torch.Tensor:
    """Log-probabilities over the vocabulary before each of ``ids``; shape [ids, vocabulary]."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *ids]])).logits[0]
    return logits[len(prompt) - 1 : -1].log_softmax(-1)
