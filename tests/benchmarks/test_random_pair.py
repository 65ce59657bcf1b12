"""benchmarks/random_pair.py: its models write nothing but words, and its words encode to themselves."""

from __future__ import annotations

from pathlib import Path

from benchmarks import random_pair
from relay_core import command
from relay_core.tokenizer import Tokenizer


def test_the_words_of_the_random_pair_encode_to_themselves(qwen3: Tokenizer) -> None:
    ids = random_pair.word_ids(qwen3)[::400]
    text_ids = [*ids, *qwen3.encode(command.write(12)), *reversed(ids)]
    assert len(ids) > 50 and qwen3.encode(qwen3.decode(text_ids)) == text_ids


def test_a_random_model_writes_nothing_but_words(qwen3: Tokenizer, tmp_path: Path) -> None:
    import torch
    from transformers import Qwen3ForCausalLM

    shape = random_pair.Shape(hidden=32, layers=1, heads=1, key_value_heads=1, intermediate=32)
    assert random_pair.build_model(tmp_path, qwen3, shape, seed=3) > 151_669 * 32
    model = Qwen3ForCausalLM.from_pretrained(tmp_path)
    prompt = torch.tensor([qwen3.encode("Count to ten, please.")])
    output = model.generate(prompt, max_new_tokens=8, do_sample=False)[0, prompt.shape[1] :].tolist()
    assert len(output) == 8 and set(output) <= set(random_pair.word_ids(qwen3))
