"""A pair of models with random weights and Qwen3's architecture and vocabulary: speed can be measured without training.

    python benchmarks/random_pair.py FOLDER     # writes FOLDER/student and FOLDER/teacher, for decode.py

Both models write only words of the form `` word`` that are one token each and that encode to the same token again. A
loop that passes text on then has the same work as one that passes ids. No answer ends by itself, and the student writes
no command: ``scheduled_calls.py`` makes its calls.
"""

from __future__ import annotations

import lzma
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from relay_core.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch

QWEN3 = Path(__file__).parents[1] / "tests" / "data" / "qwen3"
CONTEXT_LENGTH = 2048
_WORD = re.compile(rb" [A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a Qwen3 with tied embeddings and attention heads of 64 dimensions."""

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    intermediate: int


# 30 M parameters, 29 M of them embeddings
STUDENT = Shape(hidden=192, layers=2, heads=3, key_value_heads=1, intermediate=512)
# 119 M parameters, 107 M of them embeddings
TEACHER = Shape(hidden=704, layers=3, heads=11, key_value_heads=1, intermediate=1408)


def qwen3_tokenizer(folder: Path) -> Tokenizer:
    """Unpack the tests' copy of Qwen3's tokenizer into ``folder`` and load it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        shutil.copy(QWEN3 / name, folder)
    with lzma.open(QWEN3 / "tokenizer.json.xz") as packed, open(folder / "tokenizer.json", "wb") as unpacked:
        shutil.copyfileobj(packed, unpacked)
    return Tokenizer.load(folder)


def word_ids(tokenizer: Tokenizer) -> list[int]:
    """The ids of all tokens `` word`` whose text is encoded as that one token."""
    table = tokenizer.token_bytes
    assert table is not None
    words = [(token_id, text.decode()) for token_id, text in enumerate(table) if _WORD.fullmatch(text)]
    return [token_id for token_id, text in words if tokenizer.encode(text) == [token_id]]


def write_only(table: torch.Tensor, token_ids: Sequence[int]) -> None:
    """Have a model write these tokens alone: the others get a hundredth of the logit, so no argmax.

    Args:
        table: the model's output embeddings, shape [vocabulary, hidden]; changed in place.
        token_ids: the tokens.
    """
    import torch

    keep = torch.zeros(len(table), 1, dtype=table.dtype, device=table.device)
    keep[torch.tensor(token_ids, device=table.device)] = 1
    table.mul_(0.01 + 0.99 * keep)


def build_model(folder: Path, tokenizer: Tokenizer, shape: Shape, *, seed: int) -> int:
    """Write a model that greedily writes words and never ends.

    Returns:
        The number of its parameters.
    """
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    hf = tokenizer.hf
    config = Qwen3Config(
        vocab_size=len(hf),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        head_dim=64,
        intermediate_size=shape.intermediate,
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=True,
        eos_token_id=hf.eos_token_id,
        pad_token_id=hf.pad_token_id,
    )
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        write_only(model.model.embed_tokens.weight, word_ids(tokenizer))
    model.save_pretrained(folder)
    hf.save_pretrained(folder)
    return sum(weights.numel() for weights in model.parameters())


def build_pair(folder: Path) -> Tokenizer:
    """Write both models into ``folder``, as ``student`` and ``teacher``; returns their tokenizer."""
    tokenizer = qwen3_tokenizer(folder / "tokenizer")
    for name, shape, seed in (("student", STUDENT, 0), ("teacher", TEACHER, 1)):
        size = build_model(folder / name, tokenizer, shape, seed=seed)
        print(f"random {name}: {size / 1e6:.1f} M parameters", file=sys.stderr)
    return tokenizer


if __name__ == "__main__":
    build_pair(Path(sys.argv[1]))
