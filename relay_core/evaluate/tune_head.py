"""Fits the head of the trigger ``Hidden`` to a student and a teacher, on somebody's own prompts.

1. The student answers every prompt, and the teacher reads the answers (``objections.py``). A token is *wrong* if the
   teacher's objection to it is above ``margin`` nats.
2. The head is fitted to half of the prompts; a quarter of these chooses the penalty (``head_fit.py``).
3. On the other half, the AUC of the head is compared with that of the student's bare probability. ``tune.py`` chooses
   the bound on these prompts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from relay_core.concurrency import map_concurrently
from relay_core.engines.base import Engine
from relay_core.engines.transformers.head import FEATURES, FORMAT, Head, load_head
from relay_core.errors import ConfigurationError
from relay_core.evaluate import splits
from relay_core.evaluate.head_fit import Tokens, auc, auc_gain, fit, joined
from relay_core.evaluate.head_report import SCORES, Fitted
from relay_core.evaluate.objections import Objections, Objector, reader
from relay_core.evaluate.task import Problem
from relay_core.evaluate.tune import Stage

_VALIDATION = 4  # one of so many prompts of the first half chooses the penalty


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadTuner:
    """The models, and how the head is fitted.

    Args:
        student, teacher: both engines.
        objector: gives the teacher's objections.
        folder: where the head is written. A head that was fitted there from the same answers is used again.
        margin: a token is wrong if the teacher objects to it by more than this, in nats.
        stage: shows progress.
        concurrency: how many answers run at a time.
        split_seed: decides which prompts are in which half.
    """

    student: Engine
    teacher: Engine
    objector: Objector
    folder: Path
    stage: Stage
    margin: float = 3.0
    concurrency: int = 16
    split_seed: int = 0

    async def fit(self, problems: Sequence[Problem]) -> Fitted:
        """Fit the head.

        Raises:
            ConfigurationError: there are too few prompts, or the teacher objects to no token or to all.
            EngineError: an engine failed.
        """
        objections = await self._objections(problems)
        usable = [problem for problem in problems if not objections[problem.id].left_out]
        weight = {p.id: sum(self._wrong(objections[p.id])) for p in usable}
        first, other = splits.balanced_halves(usable, lambda p: weight[p.id], self.split_seed)
        if min(len(first), len(other)) < _VALIDATION:
            raise ConfigurationError(
                f"{len(first) + len(other)} different prompts with an answer are too few to fit a head on: write at "
                f"least {2 * _VALIDATION}, better 200"
            )
        digest = self._digest([*first, *other])
        card = self._earlier(digest)
        if card is None:
            card = await self._fitted(first, other, objections, digest)
        return Fitted(
            folder=str(self.folder),
            aucs=card["aucs"],
            gain=tuple(card["gain"]),
            tokens=card["tokens"],
            wrong=card["wrong"],
            held_out=other,
            left_out=len(problems) - len(usable),
            margin=self.margin,
        )

    def _digest(self, problems: Sequence[Problem]) -> str:
        """What decides the head: the answers, the margin, and the split."""
        keys = [self.objector.key(problem) for problem in problems]
        return hashlib.sha256(json.dumps([FORMAT, self.margin, keys]).encode()).hexdigest()[:32]

    def _earlier(self, digest: str) -> Mapping[str, Any] | None:
        """The description of the head that an earlier run has fitted from the same answers."""
        try:
            card = load_head(self.folder).card
        except ConfigurationError:  # there is none, or only a part of one
            return None
        return card if card.get("fitted_on") == digest else None

    def _wrong(self, objections: Objections) -> list[bool]:
        return [nats > self.margin for nats in objections.nats]

    async def _objections(self, problems: Sequence[Problem]) -> dict[str, Objections]:
        with self.stage("objections", len(problems)) as advance:

            async def one(problem: Problem) -> Objections:
                objections = await self.objector.to(problem)
                advance()
                return objections

            all_objections = await map_concurrently(one, problems, limit=self.concurrency)
        return {problem.id: o for problem, o in zip(problems, all_objections, strict=True)}

    async def _fitted(
        self,
        first: Sequence[Problem],
        other: Sequence[Problem],
        objections: Mapping[str, Objections],
        digest: str,
    ) -> Mapping[str, Any]:
        """Fit, compare and write the head; returns its description."""
        tokens, facts = await self._tokens([*first, *other], objections)
        fit_on, held_out = (tokens.part((tokens.answers < len(first)) == is_first) for is_first in (True, False))
        for part in (fit_on, held_out):
            if part.wrong.all() or not part.wrong.any():
                raise ConfigurationError(
                    f"{int(part.wrong.sum())} of {len(part.wrong)} tokens are wrong, so nothing can be told apart: "
                    f"write another --margin (it is {self.margin:g}), or take more prompts"
                )
        chooses = fit_on.answers % _VALIDATION == 0
        train, validation = fit_on.part(~chooses), fit_on.part(chooses)
        regressions = {part: fit(train, validation, part) for part in ("features", "hidden", "both")}
        wrong = held_out.wrong.numpy()
        scores = {part: regression.scores(held_out.inputs).numpy() for part, regression in regressions.items()}
        top_probability = held_out.inputs[:, FEATURES.index("top_probability") - len(FEATURES)]
        scores["bare"] = 1 - top_probability.numpy()
        best = regressions["both"]
        card = {
            "aucs": {name: auc(scores[name], wrong) for name in SCORES},
            "gain": auc_gain(scores["both"], scores["bare"], wrong, held_out.answers.numpy()),
            "tokens": len(fit_on.wrong),
            "wrong": int(fit_on.wrong.sum()),
            "penalty": best.penalty,
            "margin": self.margin,
            "teacher": self.teacher.spec,
            "fitted_on": digest,
        }
        Head(best.weight, best.bias, best.mean, best.scale, {"spec": self.student.spec, **facts}, card).save(
            self.folder
        )
        return load_head(self.folder).card

    async def _tokens(
        self, problems: Sequence[Problem], objections: Mapping[str, Objections]
    ) -> tuple[Tokens, Mapping[str, Any]]:
        """What the student makes of its own answers, and what a head must agree with.

        The answers are numbered in the order of ``problems``.
        """
        student, parts = reader(self.student, "student"), []
        facts: Mapping[str, Any] = {}
        with self.stage("hidden states", len(problems)) as advance:
            for number, problem in enumerate(problems):
                o = objections[problem.id]
                reading = await student.read(o.prompt_ids, o.ids)
                facts = reading.facts
                parts.append(Tokens(reading.inputs, torch.tensor(self._wrong(o)), torch.full((len(o.ids),), number)))
                advance()
        return joined(parts), facts
