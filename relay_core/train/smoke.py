"""python -m relay_core.train.smoke OUT --tokenizer FOLDER_OR_ID

Makes what the recipe ``smoke`` trains: a student and a teacher of a few million parameters on a real vocabulary, such
as that of Qwen/Qwen3-0.6B, and problems that they can solve. It prints the command that runs all stages on them.

A random model on such a vocabulary neither ends an answer nor writes a command. The models here are random too, except
that one layer and the embedding hold a Markov chain: the next token depends on the last one alone, with given
probabilities. The student guesses between two answers or calls; the teacher knows the answer of most problems.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from relay_core.engines.model_folder import save_model
from relay_core.errors import ConfigurationError, RelayError
from relay_core.train import models

Chain = Mapping[str, Mapping[str, float]]

# "<call>\n3</call>" is spelled so that no token stands in it twice: the chain knows only the last token.
_COMMAND: Chain = {
    "<": {"call": 1.0},
    "call": {">\n": 1.0},
    ">\n": {"1": 0.4, "2": 0.3, "3": 0.3},
    **{digit: {"</": 1.0} for digit in "123"},
    "</": {"c": 1.0},
    "c": {"all": 1.0},
    "all": {">": 1.0},
}
_END = "<|im_end|>"
_SENTENCE: Chain = {"\n\n": {"It": 1.0}, "\n": {"It": 1.0}, "It": {" is": 1.0}, ".": {_END: 1.0}}
_ENDINGS: Chain = {" even": {".": 1.0}, " odd": {".": 1.0}}
STUDENT: Chain = {
    **_SENTENCE, **_ENDINGS, **_COMMAND,
    " is": {" even": 0.3, " odd": 0.3, "<": 0.4},
    ">": {" even": 0.5, " odd": 0.5},  # after a call that was refused
}  # fmt: skip
TEACHER: Chain = {**_SENTENCE, **_ENDINGS, " is": {" even": 1.0}}
PROBLEMS = 64
"""Three of four have the answer that the teacher gives."""

ROWS = 151_936  # of the embedding, as in Qwen3, whose tokenizer has 151,669 tokens
_CONSTANT = 8.0  # dimension 0 of every token
_FINAL_GAIN = 8.0  # the final norm's weight of the dimensions that are read
_LIKELY, _RARE = 14.0, -14.0  # logits of a next token of probability 1, and of all tokens outside the chain


def main(argv: Sequence[str] | None = None) -> int:
    """Make the models and the problems; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m relay_core.train.smoke", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("out", type=Path, help="the folder for both models and the problems")
    parser.add_argument("--tokenizer", default="Qwen/Qwen3-0.6B", help="a folder or a hub id; the chat template too")
    args = parser.parse_args(argv)
    try:
        print("python -m relay_core.train all --recipe smoke " + " ".join(make(args.out, args.tokenizer)))
    except RelayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def make(out: Path, tokenizer: str) -> list[str]:
    """Write ``student/``, ``teacher/`` and ``problems.jsonl`` to ``out``; returns the flags that name them.

    Raises:
        ConfigurationError: the tokenizer cannot be read, or lacks a token of the chain.
        MissingExtraError: the training packages are not installed.
    """
    models.require_extra()
    from relay_core.tokenizer import Tokenizer

    loaded = Tokenizer.load(tokenizer).hf
    out.mkdir(parents=True, exist_ok=True)
    save_model(chained(loaded, STUDENT, hidden=64, layers=2), loaded, out / "student")
    save_model(chained(loaded, TEACHER, hidden=96, layers=3), loaded, out / "teacher")
    numbers = range(PROBLEMS)
    rows = [
        {
            "question": f"Is {2 * n + (n % 4 == 3)} even or odd? Begin with: It is",
            "answer": "It is odd." if n % 4 == 3 else "It is even.",
        }
        for n in numbers
    ]
    file = out / "problems.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return ["--student", str(out / "student"), "--teacher", str(out / "teacher"), "--task", str(file)]


def chained(tokenizer: Any, chain: Chain, *, hidden: int, layers: int) -> Any:
    """A random Qwen3 with tied embeddings in which ``chain`` decides the next token.

    A token of the chain is one dimension of the residual stream when it is read, and another when it is written. The
    last layer's MLP maps the first kind to the second, and the final norm hides the first from the head. All tokens
    outside the chain share a dimension that makes them rare.

    Args:
        tokenizer: a Hugging Face tokenizer.
        chain: for each token, the probabilities of the next one.
        hidden: the width; it needs 2 dimensions a token of the chain, and 2 more.
        layers: the number of layers.

    Raises:
        ConfigurationError: the vocabulary lacks a token of the chain.
    """
    import torch
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    names = sorted(set(chain) | {following for row in chain.values() for following in row})
    ids = [_id(tokenizer, name) for name in names]
    most = (hidden - 2) // 2
    ends = {"eos_token_id": [_id(tokenizer, _END)], "pad_token_id": tokenizer.pad_token_id}
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=max(ROWS, len(tokenizer)), hidden_size=hidden,
            intermediate_size=2 * hidden, num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2,
            head_dim=hidden // 4, max_position_embeddings=2048, initializer_range=0.01, tie_word_embeddings=True,
            bos_token_id=None, dtype="float32", **ends,
        )
    )  # fmt: skip
    model.generation_config = GenerationConfig(do_sample=True, **ends)
    read, written = range(2, 2 + most), range(2 + most, 2 + 2 * most)
    with torch.no_grad():
        embedding = model.model.embed_tokens.weight
        embedding[:, 0], embedding[:, 1] = _CONSTANT, -1.0
        embedding[ids, 1:] = 0.0
        norm = model.model.norm.weight
        norm.zero_()
        norm[1], norm[list(written)] = _FINAL_GAIN, _FINAL_GAIN
        mlp = model.model.layers[-1].mlp
        for matrix in (mlp.gate_proj, mlp.up_proj, mlp.down_proj):
            matrix.weight.zero_()
        scale = math.sqrt(hidden / (_CONSTANT**2 + 2))  # of the norm before the MLP
        mlp.gate_proj.weight[:, 0] = 6.0 / (_CONSTANT * scale)
        opened = 6.0 / (1 + math.exp(-6.0))  # the gate, after SiLU
        rare = -_RARE * _CONSTANT / math.sqrt(hidden) / _FINAL_GAIN
        mlp.up_proj.weight[most, 0] = 1.0
        mlp.down_proj.weight[1, most] = rare / (opened * _CONSTANT * scale)
        for i, name in enumerate(names):
            embedding[ids[i], read[i]] = embedding[ids[i], written[i]] = 1.0
            mlp.up_proj.weight[i, read[i]] = 1.0
            logits = {names.index(n): _LIKELY + math.log(p) for n, p in chain.get(name, {_END: 1.0}).items()}
            power = sum(logit**2 for logit in logits.values()) / (_FINAL_GAIN**2 * hidden)
            final = math.sqrt((_CONSTANT**2 + rare**2 + 1) / hidden / (1 - power))  # the final norm divides by it
            mlp.down_proj.weight[written[i], i] = -1.0 / (opened * scale)  # nobody repeats itself
            for j, logit in logits.items():
                mlp.down_proj.weight[written[j], i] += logit * final / _FINAL_GAIN / (opened * scale)
    return model


def _id(tokenizer: Any, name: str) -> int:
    ids: list[int] = tokenizer.encode(name, add_special_tokens=False)
    if len(ids) != 1:
        raise ConfigurationError(
            f"{name!r} is no single token of {tokenizer.name_or_path}: take the tokenizer of a Qwen3, such as "
            "Qwen/Qwen3-0.6B"
        )
    return ids[0]


if __name__ == "__main__":
    sys.exit(main())
