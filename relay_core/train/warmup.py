"""Warm-up: the student learns only the syntax of the command (paper, section 3.2).

The training data is the student's own samples (``sampling.py``) with commands inserted at random places; the loss is
cross-entropy on the answer. The samples are drawn at temperature 1, without top_p and top_k. Apart from the commands,
the data therefore follows the student's own distribution, and training changes only the use of commands. The ids of a
sample are used as they were sampled; its text is never encoded again.

The bundled recipe deviates from the paper in a smaller n, because its answers have about a hundred tokens.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from relay_core import command
from relay_core.train.sampling import Sample
from relay_core.train.sections import Warmup
from relay_core.train.supervised import IGNORED


def draw_n(rng: random.Random, powers: Sequence[int]) -> int:
    """A digit from 1 to 9 times 10 to one of ``powers``."""
    return int(rng.randint(1, 9) * 10 ** rng.choice(list(powers)))


def with_commands(
    token_ids: Sequence[int],
    rng: random.Random,
    encode: Callable[[str], list[int]],
    *,
    max_commands: int = 3,
    powers: Sequence[int] = (0, 1),
) -> list[int]:
    """``token_ids`` with 0 to ``max_commands`` commands inserted before random tokens.

    Every token stays, in order. No command comes after the last token, which is the end token.
    """
    places = sorted(rng.sample(range(len(token_ids)), min(rng.randint(0, max_commands), len(token_ids))))
    ids: list[int] = []
    for i, token_id in enumerate(token_ids):
        if i in places:
            ids += encode(command.write(draw_n(rng, powers)))
        ids.append(token_id)
    return ids


def rows(
    samples: Sequence[Sample], encode: Callable[[str], list[int]], config: Warmup, *, seed: int
) -> list[dict[str, list[int]]]:
    """Training rows with ``input_ids`` and ``labels``; the labels of the prompt are :data:`IGNORED`.

    Each sample yields ``config.draws`` rows, each with other random commands.
    """
    rng = random.Random(f"relay-train/warmup/{seed}")
    data = []
    for _ in range(config.draws):
        for sample in samples:
            ids = with_commands(sample.token_ids, rng, encode, max_commands=config.max_commands, powers=config.powers)
            labels = [IGNORED] * len(sample.prompt_ids) + ids
            data.append({"input_ids": [*sample.prompt_ids, *ids], "labels": labels})
    return data
