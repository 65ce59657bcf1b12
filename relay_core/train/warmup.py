"""Warm-up: the syntax of the command, and nothing else (paper, section 3.2).

The student's own samples, with commands put at random places between their tokens; cross-entropy on the answer.
Samples are drawn at temperature 1 without cut-offs, so that apart from the commands the data *is* the student's own
distribution and its loss pulls nowhere. Token in, token out: a sample's ids are never decoded and encoded again.

Deviation from the paper: n goes to 10^1, not 10^3, where answers have a hundred tokens.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay_core import command, portal
from relay_core.concurrency import map_concurrently
from relay_core.events import FinishReason
from relay_core.relay import Relay
from relay_core.train.progress import Progress
from relay_core.train.recipe import Warmup
from relay_core.train.store import Journal
from relay_core.train.trainer import Following, arguments, last_checkpoint, plain

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Sample:
    """One of the student's own answers, as ids; the end token included."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]


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
    """``token_ids`` with 0 to ``max_commands`` commands before random tokens of it; the rest untouched, in order.

    The last token (the end token) may have one before it, never one behind it.
    """
    places = sorted(rng.sample(range(len(token_ids)), min(rng.randint(0, max_commands), len(token_ids))))
    out: list[int] = []
    for i, token_id in enumerate(token_ids):
        if i in places:
            out += encode(command.write(draw_n(rng, powers)))
        out.append(token_id)
    return out


def rows(
    samples: Sequence[Sample], encode: Callable[[str], list[int]], config: Warmup, *, seed: int
) -> list[dict[str, list[int]]]:
    """Training rows: ``input_ids`` and ``labels``, the prompt without a loss; ``config.draws`` for each sample."""
    rng = random.Random(f"relay-train/warmup/{seed}")
    out = []
    for s in [s for _ in range(config.draws) for s in samples]:
        ids = with_commands(s.token_ids, rng, encode, max_commands=config.max_commands, powers=config.powers)
        labels = [IGNORED] * len(s.prompt_ids) + ids
        out.append({"input_ids": [*s.prompt_ids, *ids], "labels": labels})
    return out


def sample(
    relay: Relay, prompts: Sequence[Sequence[Mapping[str, Any]]], journal: Journal, *, temperature: float
) -> list[Sample]:
    """The student's own answers, written to ``journal`` as they come; those it has are not drawn again.

    Answers that ran into the limit are left out: they have no end.
    """
    done = {row["i"] for row in journal.rows}
    left = [i for i in range(len(prompts)) if i not in done]

    async def draw() -> None:
        with Progress("samples", len(prompts), done=len(done)) as progress:

            async def one(i: int) -> None:
                result = await relay.agenerate([dict(m) for m in prompts[i]], temperature=temperature, calls=False)
                row = result.transcript.training_row()
                ended = result.finish_reason is FinishReason.STOP
                journal.append(
                    {"i": i, "ended": ended, "prompt_ids": list(row.prompt_ids), "token_ids": list(row.token_ids)}
                )
                progress.step()

            await map_concurrently(one, left, limit=128)

    if left:
        portal.run(draw)
    found = sorted((row for row in journal.rows if row["ended"]), key=lambda row: row["i"])
    return [Sample(tuple(row["prompt_ids"]), tuple(row["token_ids"])) for row in found]


def fine_tune(
    model: Any, tokenizer: Any, data: Sequence[Mapping[str, list[int]]], config: Warmup, out: Path, *, seed: int
) -> None:
    """Supervised training with TRL, in place; goes on from the last whole checkpoint in ``out``."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    values = {**plain(out, seed=seed), "max_length": None, "packing": False, **config.trainer}
    args = arguments(SFTConfig, "warmup", values)
    trainer = SFTTrainer(
        model=model,
        args=args,
        train_dataset=Dataset.from_list([dict(row) for row in data]),
        processing_class=tokenizer,
    )
    following = Following("warmup", note="loss")
    following.attach(trainer)
    with following:
        trainer.train(resume_from_checkpoint=last_checkpoint(out))
