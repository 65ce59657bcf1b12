"""Trains the head of CITER: references, preferences, rounds of rollouts and fits.

FOLDER/references.jsonl, rollouts.jsonl   what was sampled; a later run with the same arguments goes on there
FOLDER/round-1, ...                       the head of each round, whose router makes the rollouts of the next one
FOLDER/head.safetensors, head.json        the head of the last round
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from relay_core.concurrency import map_concurrently
from relay_core.engines.base import Engine
from relay_core.engines.transformers.head import CARD, FEATURES, WEIGHTS, Head, load_head
from relay_core.errors import ConfigurationError
from relay_core.evaluate.citer import mlp
from relay_core.evaluate.citer.references import Reference, References, by_student, unusable
from relay_core.evaluate.citer.rollouts import Rollouts, open_places
from relay_core.evaluate.head_fit import Tokens, auc, joined
from relay_core.evaluate.store import Journal
from relay_core.evaluate.task import Problem, Task
from relay_core.evaluate.tune import Stage
from relay_core.settings import RelaySettings

_PARTS = 5  # one of so many problems validates, and one more judges the head
_VERSION = 1  # of what decides a head beside the arguments


@dataclass(eq=False)
class _Example:
    """A reference with its labels: whether the teacher is preferred at each place; ``None`` where nothing is known."""

    problem: Problem
    key: str
    reference: Reference
    inputs: torch.Tensor
    labels: list[bool | None]
    open: list[int]


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """The models, the task, and how the head is trained.

    Args:
        student, teacher: both engines.
        task: grades the answers.
        settings: ``max_tokens`` and the sampling of all answers.
        folder: where everything is written.
        stage: shows progress.
        rounds: rounds of rollouts and fits; the first one has no router yet.
        rollouts: the most places of a reference that are rolled out.
        seed: draws these places, and starts the fits.
        concurrency: how many answers run at a time.
    """

    student: Engine
    teacher: Engine
    task: Task
    settings: RelaySettings
    folder: Path
    stage: Stage
    rounds: int = 2
    rollouts: int = 8
    seed: int = 0
    concurrency: int = 32

    async def train(self, problems: Sequence[Problem]) -> Mapping[str, Any]:
        """Train on problems of the task; returns the description of the head of the last round (``head.json``).

        Raises:
            ConfigurationError: there are too few references, or one model is preferred everywhere.
            EngineError: an engine failed.
        """
        examples, facts, left_out = await self._examples(problems)
        counts = {"problems": len(examples), "left_out": left_out, "rollouts": sum(len(e.open) for e in examples)}
        journal = Journal(self.folder / "rollouts.jsonl")
        decisive: list[Any] = [_VERSION, self.seed, self.rollouts, [e.key for e in examples]]
        head: str | None = None
        card: Mapping[str, Any] = {}
        for number in range(1, self.rounds + 1):
            folder = self.folder / f"round-{number}"
            digest = hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:32]
            earlier = _earlier(folder, digest)
            if earlier is None:
                await self._roll_out(examples, journal, head, number)
                self._fit(examples, folder, {**counts, "round": number, "fitted_on": digest}, facts)
                earlier = load_head(folder).card
            head, card, decisive = str(folder), earlier, [number, digest]
        for name in (WEIGHTS, CARD):
            shutil.copyfile(self.folder / f"round-{self.rounds}" / name, self.folder / name)
        return card

    async def _examples(self, problems: Sequence[Problem]) -> tuple[list[_Example], Mapping[str, Any], int]:
        """The references with the labels that need no rollout; what a head must agree with; problems left out."""
        source = References(
            self.student, self.teacher, self.task, self.settings, Journal(self.folder / "references.jsonl")
        )
        different = list({source.key(problem): problem for problem in problems}.values())
        with self.stage("references", len(different)) as advance:

            async def one(problem: Problem) -> Reference:
                reference = await source.to(problem)
                advance()
                return reference

            references = await map_concurrently(one, different, limit=self.concurrency)
        usable = [(p, r) for p, r in zip(different, references, strict=True) if not r.left_out]
        if len(usable) < 2 * _PARTS:
            raise unusable(self.task, [reference.left_out for reference in references if reference.left_out])
        examples, facts = [], {}
        with self.stage("hidden states", len(usable)) as advance:
            for problem, reference in usable:
                own, reading = await by_student(self.student, reference)
                key, facts = source.key(problem), reading.facts
                places = open_places(own, reference.by_teacher)
                drawn = sorted(random.Random(f"{self.seed}/{key}").sample(places, min(self.rollouts, len(places))))
                labels: list[bool | None] = [None if i in places else not match for i, match in enumerate(own)]
                examples.append(_Example(problem, key, reference, reading.inputs, labels, drawn))
                advance()
        return examples, facts, len(problems) - len(usable)

    async def _roll_out(self, examples: Sequence[_Example], journal: Journal, head: str | None, number: int) -> None:
        """Label the open places of all references."""
        rollouts = Rollouts(self.student, self.teacher, self.task, self.settings, journal, head)
        places = [(example, place) for example in examples for place in example.open]
        with self.stage(f"rollouts {number}", len(places)) as advance:

            async def one(pair: tuple[_Example, int]) -> None:
                example, place = pair
                example.labels[place] = await rollouts.prefers_teacher(
                    example.problem, example.key, example.reference, place
                )
                advance()

            await map_concurrently(one, places, limit=self.concurrency)

    def _fit(self, examples: Sequence[_Example], folder: Path, card: dict[str, Any], facts: Mapping[str, Any]) -> None:
        """Fit a head, and write it with its description."""
        tokens = joined([_tokens(example, number) for number, example in enumerate(examples)])
        held_out = tokens.part(tokens.answers % _PARTS == 1)
        validation, train = tokens.part(tokens.answers % _PARTS == 0), tokens.part(tokens.answers % _PARTS > 1)
        for part in (train, validation, held_out):
            if part.wrong.all() or not part.wrong.any():
                raise ConfigurationError(
                    f"the teacher is preferred at {int(part.wrong.sum())} of {len(part.wrong)} tokens, so nothing can "
                    "be told apart: write --problems with more, or another student or teacher"
                )
        with self.stage(f"fits {card['round']}", len(mlp.UNITS) * len(mlp.WEIGHT_DECAYS)) as advance:
            best = mlp.fit(train, validation, seed=self.seed, step=advance)
        top_probability = held_out.inputs[:, FEATURES.index("top_probability") - len(FEATURES)]
        wrong = held_out.wrong.numpy()
        card |= {
            "method": "citer",
            "aucs": {"head": auc(best.scores(held_out.inputs).numpy(), wrong),
                     "bare": auc(1 - top_probability.numpy(), wrong)},
            "validation_loss": best.loss, "units": best.units, "weight_decay": best.weight_decay,
            "epochs": best.epochs, "tokens": len(tokens.wrong), "teacher_preferred": int(tokens.wrong.sum()),
            "teacher": self.teacher.spec, "task": self.task.name, "seed": self.seed,
        }  # fmt: skip
        student = {"spec": self.student.spec, **facts}
        Head(best.weight, best.bias, best.mean, best.scale, student, card, best.layer).save(folder)


def _tokens(example: _Example, number: int) -> Tokens:
    """The labelled tokens of a reference."""
    known = torch.tensor([label is not None for label in example.labels])
    wrong = torch.tensor([bool(label) for label in example.labels])
    return Tokens(example.inputs, wrong, torch.full((len(wrong),), number)).part(known)


def _earlier(folder: Path, digest: str) -> Mapping[str, Any] | None:
    """The description of the head that an earlier run has fitted from the same data."""
    try:
        card = load_head(folder).card
    except ConfigurationError:  # there is none, or only a part of one
        return None
    return card if card.get("fitted_on") == digest else None
