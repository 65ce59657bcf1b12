"""Trains the tokenizer of the bundled pair: a small byte-level BPE, modelled on Qwen's.

It has Qwen2's pre-tokenizer (every digit is a separate token), Qwen3's control tokens and Qwen3's chat template. No
single token stands for a command or its tags: the tokenizer splits them as ordinary text.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from relay_core.bundled import prompt_forms, task

#: the number of entries, control tokens included
VOCAB_SIZE = 1024

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CONTROL = (
    "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>",
)  # fmt: skip
TEMPLATE = Path(__file__).with_name("chat_template.jinja")


def training_texts(seed: int) -> list[str]:
    """The texts from which merges are learned: prompts, and reference answers with commands at random places."""
    rng = random.Random(f"relay-bundled/tokenizer/{seed}")
    texts: list[str] = []
    problems = task.problems(4000, seed=seed)
    problems += task.problems(400, seed=seed, family=task.HELD_OUT)
    for problem in problems:
        texts += [message["content"] for message in problem.messages]
        words = problem.solution.split(" ")
        for _ in range(rng.choice((0, 0, 1, 2))):
            n = rng.choice((1, 2, 3, 4, 5, 8, 12, 20, 50, 100))
            command = f"<call>{n}</call>" + rng.choice(("", "", "", "\n\n"))
            words.insert(rng.randrange(len(words)), command)
        text = " ".join(words)
        opening = rng.choice((" <call", ".<call", "<call"))
        texts += text.split(" <call") if opening == "<call" else [text.replace(" <call", opening)]
    texts += ["system\n", "user\n", "assistant\n\n\n"] * 400
    texts += [*prompt_forms.SYSTEMS, "<call>4</call>", "<call>12</call> ", "a.</call>\n\n"] * 60
    texts += [
        "a > b, a < b, a </ b.</ b",
        ".</call> >\n\n",
        '{"name": "add", "arguments": {}}',
    ] * 60
    return texts


def train(seed: int) -> Any:
    """A transformers tokenizer with :data:`VOCAB_SIZE` entries, trained on :func:`training_texts`."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=VOCAB_SIZE - len(SPECIAL) - len(CONTROL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(training_texts(seed), trainer)
    bpe.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    bpe.add_tokens([AddedToken(t, special=False, normalized=False) for t in CONTROL])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = TEMPLATE.read_text()
    return tokenizer
