"""A pair of Qwen3's shape and vocabulary with random weights, and calls at scripted points: speed without training.

A model of random weights writes no command by itself. ``Scheduled`` stands around the student's engine and, at points
drawn from the prompt, gives the last tokens of a turn the ids of ``<call>n</call>``. The student decodes every one of
them, in the time that it takes; all else is its own. (The server has cached what the student really wrote there, so
each hand-over re-reads the command's eight tokens, which a trained student's does not.)

``python benchmarks/random_pair.py FOLDER`` writes the two models, for ``decode.py``.

Both models can write only words of the form `` word``, one token each, which say themselves again when their text is
encoded: so a loop that passes text on asks for the same work as one that passes ids, and no answer ends by itself.
"""

from __future__ import annotations

import lzma
import random
import re
import shutil
import sys
import zlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from relay_core import command
from relay_core.engines.base import Chunk, Engine, Finish, Message, Prompt, Sampling, Token
from relay_core.tokenizer import Tokenizer

QWEN3 = Path(__file__).parents[1] / "tests" / "data" / "qwen3"
CONTEXT = 2048
_WORD = re.compile(rb" [A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a Qwen3 with tied embeddings; heads of 64."""

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    intermediate: int


STUDENT = Shape(hidden=192, layers=2, heads=3, key_value_heads=1, intermediate=512)  # 30 M, 29 of them embeddings
TEACHER = Shape(hidden=704, layers=3, heads=11, key_value_heads=1, intermediate=1408)  # 119 M, 107 of them embeddings


def qwen3(folder: Path) -> Tokenizer:
    """Qwen3's tokenizer, the tests' copy of it, unpacked into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        shutil.copy(QWEN3 / name, folder)
    with lzma.open(QWEN3 / "tokenizer.json.xz") as packed, open(folder / "tokenizer.json", "wb") as plain:
        shutil.copyfileobj(packed, plain)
    return Tokenizer.load(folder)


def words(tokenizer: Tokenizer) -> list[int]:
    """The ids that say `` word`` and are what that text is encoded as."""
    table = tokenizer.token_bytes
    assert table is not None
    spelled = [(i, text.decode()) for i, text in enumerate(table) if _WORD.fullmatch(text)]
    return [i for i, text in spelled if tokenizer.encode(text) == [i]]


def build(folder: Path, tokenizer: Tokenizer, shape: Shape, *, seed: int) -> int:
    """Write a model that greedily writes words and never ends; returns how many parameters it has."""
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
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        eos_token_id=hf.eos_token_id,
        pad_token_id=hf.pad_token_id,
    )
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        table = model.model.embed_tokens.weight
        keep = torch.zeros(len(table), 1)
        keep[words(tokenizer)] = 1
        table.mul_(0.01 + 0.99 * keep)  # of a hundredth of the others' logits, and so never the likeliest
    model.save_pretrained(folder)
    hf.save_pretrained(folder)
    return sum(weights.numel() for weights in model.parameters())


class Point(NamedTuple):
    """Where a turn calls: after so many student tokens, for n teacher tokens."""

    after: int
    n: int


Points = Callable[[Sequence[Message], int], Point]


def points(every: int, n: int) -> Points:
    """A schedule: the call of a turn, by the conversation and the turn's number; ``every`` and ``n`` on average."""

    def point(messages: Sequence[Message], turn: int) -> Point:
        rng = random.Random(zlib.crc32(f"{turn} {messages[-1]['content']}".encode()))
        return Point(rng.randint(every - every // 2, every + every // 2), rng.randint(max(1, n // 2), n + n // 2))

    return point


class Scheduled(Engine):
    """A student whose calls come at ``points``; see the module's head."""

    def __init__(self, inner: Engine, points: Points) -> None:
        self.inner, self.points, self.spec = inner, points, f"scheduled({inner.spec})"

    @property
    def speaks_ids(self) -> bool:  # type: ignore[override]
        return self.inner.speaks_ids

    @property
    def tokenizer(self) -> Any:
        return self.inner.tokenizer

    @property
    def context_length(self) -> int | None:
        return self.inner.context_length

    async def start(self) -> None:
        await self.inner.start()

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        after, n = self.points(prompt.messages, prompt.turn)
        decoder = self.tokenizer.decoder()
        written = [Token(i, decoder.step(i)) for i in self.tokenizer.encode(command.write(n))]
        length = after + len(written)
        if not sampling.stop or length >= sampling.max_tokens:  # no call may come, or none can come back
            after = length = sampling.max_tokens
        done = 0
        asked = replace(sampling, max_tokens=length, stop=())
        async with aclosing(self.inner.stream(prompt, asked)) as chunks:
            async for chunk in chunks:
                theirs = chunk.tokens[: max(0, after - done)]
                begin, done = max(0, done - after), done + len(chunk.tokens)
                tokens = [*theirs, *written[begin : max(0, done - after)]]
                stopped = after < length == done
                yield replace(chunk, tokens=tuple(tokens), finish=Finish.STOP if stopped else chunk.finish)


def make(folder: Path) -> Tokenizer:
    """Write both models into ``folder``, as ``student`` and ``teacher``; their tokenizer."""
    tokenizer = qwen3(folder / "tokenizer")
    for name, shape, seed in (("student", STUDENT, 0), ("teacher", TEACHER, 1)):
        size = build(folder / name, tokenizer, shape, seed=seed)
        print(f"random {name}: {size / 1e6:.1f} M parameters", file=sys.stderr)
    return tokenizer


if __name__ == "__main__":
    make(Path(sys.argv[1]))
