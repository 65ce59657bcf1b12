"""The report of ``relay tune``: a table, a sentence, JSON and a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from relay_core.decoding.triggers import Trigger
from relay_core.evaluate.agreement import Scorer
from relay_core.evaluate.calibrate import TOLERANCE, is_near
from relay_core.evaluate.chart import Point, chart
from relay_core.evaluate.figures import Figures, router_score, ungraded_line
from relay_core.evaluate.table import aligned, in_per_cent
from relay_core.evaluate.tune import Tuned


@dataclass(frozen=True, slots=True)
class TuneReport:
    """A report on what was tuned, for which call ratio, and by which score."""

    tuned: Tuned
    target: float
    scorer: Scorer

    @property
    def reaches_target(self) -> bool:
        """Whether the call ratio on the held-out half is within a fifth of the target."""
        return is_near(self.tuned.figures.call_ratio, self.target)

    @property
    def is_recommended(self) -> bool:
        """Whether the chosen trigger comes near the target, and scores more than the random router."""
        return self.reaches_target and self.tuned.figures.score > self.by_router

    @property
    def by_router(self) -> float:
        """The score of a random router at the call ratio of the chosen trigger."""
        return self.router(self.tuned.figures.call_ratio)

    def router(self, call_ratio: float) -> float:
        """The score of a router that sends whole prompts to the teacher at random, for this share of the tokens."""
        return router_score(self.tuned.student, self.tuned.teacher, call_ratio)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        tuned = self.tuned
        rounds = [r for tried in tuned.rounds for r in tried]
        return {
            "trigger": str(tuned.chosen),
            "target_ratio": self.target,
            "call_ratio": tuned.figures.call_ratio,
            "reaches_target": self.reaches_target,
            "score": self.scorer.as_dict(),
            "methods": {
                "student": tuned.student.as_dict(),
                **{str(trigger): figures.as_dict() for trigger, figures in tuned.settings},
                "teacher": tuned.teacher.as_dict(),
            },
            "random_router": self.by_router,
            "rounds": [
                {"trigger": str(r.trigger), "foretold_ratio": r.foretold, "call_ratio": r.measured} for r in rounds
            ],
            "too_long": tuned.too_long,
            "verdict": self.verdict(),
        }

    def text(self) -> str:
        """The table and the sentence as plain text."""
        tuned = self.tuned
        title = (
            f"{tuned.figures.prompts} held-out prompts, in per cent, with 95% intervals; {self.scorer.name}: "
            f"{self.scorer.how}"
        )
        headings = ["", self.scorer.name, "call ratio", "calls", "tokens", "s", "cost", "cached"]
        settings = {str(trigger): figures for trigger, figures in sorted(tuned.settings, key=_by_ratio)}
        by_label = {"student alone": tuned.student, **settings, "teacher alone": tuned.teacher}
        rows = [_row(label, figures) for label, figures in by_label.items()]
        return "\n".join([title, *aligned([headings, *rows]), *ungraded_line(by_label), self.verdict()])

    def verdict(self) -> str:
        """A sentence: the chosen trigger, its call ratio and score, and what they are between."""
        tuned, name = self.tuned, self.scorer.name
        f = tuned.figures
        near = "within" if self.reaches_target else "not within"
        sentence = (
            f"{tuned.chosen}: the teacher writes {f.call_ratio:.1%} of the tokens, {near} {TOLERANCE:.0%} of the "
            f"target of {self.target:.1%}. {name.capitalize()} is {f.score:.1%}; student alone "
            f"{tuned.student.score:.1%}, teacher alone {tuned.teacher.score:.1%}; a router that sends whole prompts to "
            f"the teacher at random, for as many tokens, would give {self.by_router:.1%}."
        )
        if not self.reaches_target:
            sentence += f" {tuned.figures.prompts} held-out prompts are few for a call ratio; more make it surer."
        return sentence

    def picture(self) -> str:
        """An SVG of score against call ratio, with the line of a router that draws at random."""
        tuned = self.tuned
        points = [Point(str(t), f.call_ratio, f.score, f.score_interval) for t, f in tuned.settings]
        return chart(
            points,
            student=tuned.student.score,
            teacher=tuned.teacher.score,
            router=self.router,
            x_title="call ratio (share of the tokens that the teacher writes)",
            y_title=self.scorer.name,
        )


def _by_ratio(setting: tuple[Trigger, Figures]) -> float:
    return setting[1].call_ratio


def _row(label: str, f: Figures) -> list[str]:
    return [
        label, in_per_cent(f.score, f.score_interval), in_per_cent(f.call_ratio, f.call_ratio_interval),
        f"{f.calls:.2f}", f"{f.tokens:.0f}", f"{f.seconds:.2f}", f"{1000 * f.cost:.4f}", f"{1000 * f.cost_cached:.4f}",
    ]  # fmt: skip
