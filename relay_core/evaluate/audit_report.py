"""The report of ``relay audit``: a table, the sentence whether the relay pays, and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from relay_core.errors import GradingError
from relay_core.evaluate.agreement import Scorer
from relay_core.evaluate.audit import Case
from relay_core.evaluate.figures import Figures, Scored, figures, ungraded_line
from relay_core.evaluate.table import aligned, in_per_cent
from relay_core.evaluate.verdict import Pays, Row, Verdict, verdict
from relay_core.settings import Prices

LABELS = {"student": "student alone", "relay": "relay", "teacher": "teacher alone"}
_BEGINS = {
    Pays.YES: "The relay pays",
    Pays.NO: "The relay does not pay",
    Pays.UNDECIDED: "Whether the relay pays is not decided",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What some prompts show, which student, relay and teacher have all answered.

    Args:
        methods: the figures of each method, by its name.
        cached, uncached: whether the relay pays, with caching and without.
        scorer: gave each answer its score.
        prices: prices per million tokens.
        too_long: how many prompts did not fit into a model's context; they are in no figure.
        ungraded: of how many prompts one answer or more could not be graded; the verdict leaves them out.
    """

    methods: Mapping[str, Figures]
    cached: Verdict
    uncached: Verdict
    scorer: Scorer
    prices: Prices
    too_long: int
    ungraded: int = 0

    @classmethod
    def of(cls, cases: Sequence[Case], scorer: Scorer, prices: Prices) -> AuditReport:
        """The report on some cases, at least one of which fits into both contexts.

        Raises:
            GradingError: no prompt's answers could all be graded.
        """
        scored = [{name: _scored(case, name, scorer) for name in LABELS} for case in cases if not case.too_long]
        judged = [(s, scores) for s in scored if (scores := _scores(s)) is not None]
        if not judged:
            raise GradingError(f"of none of {len(scored)} prompts all answers could be graded: write another --grader")
        calls = sum(answers["relay"].answer.usage.calls for answers in scored)
        cached, uncached = (
            verdict(
                [Row(**scores, **_costs(s, prices, caching=caching)) for s, scores in judged],
                score=scorer.name,
                calls=calls,
            )
            for caching in (True, False)
        )
        methods = {name: figures([s[name] for s in scored], prices, graded=scorer.graded) for name in LABELS}
        too_long = len(cases) - len(scored)
        return cls(
            methods=methods, cached=cached, uncached=uncached, scorer=scorer, prices=prices, too_long=too_long,
            ungraded=len(scored) - len(judged),
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "prompts": self.methods["relay"].prompts,
            "too_long": self.too_long,
            "ungraded": self.ungraded,
            "score": self.scorer.as_dict(),
            "methods": {name: figures.as_dict() for name, figures in self.methods.items()},
            "prices": asdict(self.prices),
            "pays": str(self.cached.pays),
            "pays_without_caching": str(self.uncached.pays),
            "advantage": self.cached.advantage,
            "advantage_interval": self.cached.interval,
            "verdict": self.verdict(),
        }

    def text(self) -> str:
        """The table and the verdict as plain text."""
        title = (
            f"{self.methods['relay'].prompts} prompts, in per cent, with 95% intervals; {self.scorer.name}: "
            f"{self.scorer.how}"
        )
        headings = ["", self.scorer.name, "call ratio", "calls", "tokens", "read", "s", "cost", "cached"]
        rows = [_row(LABELS[name], f) for name, f in self.methods.items()]
        return "\n".join([title, *aligned([headings, *rows]), *ungraded_line(self.methods), self.verdict()])

    def verdict(self) -> str:
        """Whether the relay pays, with caching and without."""
        sentence = f"{_BEGINS[self.cached.pays]}: {self.cached.reason}."
        if self.uncached.pays is not self.cached.pays:
            without = _BEGINS[self.uncached.pays]
            sentence += f" Without caching: {without[0].lower()}{without[1:]}: {self.uncached.reason}."
        return sentence


def _scored(case: Case, name: str, scorer: Scorer) -> Scored:
    answer, reference = case.answers[name], case.answers["teacher"]
    score = scorer.score(answer.text, case.problem, reference.text)
    return Scored(answer, score, reference.usage.teacher_prompt_tokens)


def _scores(scored: Mapping[str, Scored]) -> dict[str, float] | None:
    """The scores for the verdict; ``None`` if an answer could not be graded."""
    scores = {f"{name}_score": s.score for name, s in scored.items() if s.score is not None}
    return scores if len(scores) == len(scored) else None


def _costs(scored: Mapping[str, Scored], prices: Prices, *, caching: bool) -> dict[str, float]:
    return {f"{name}_cost": s.cost(prices, caching=caching) for name, s in scored.items()}


def _row(label: str, f: Figures) -> list[str]:
    return [
        label, in_per_cent(f.score, f.score_interval), in_per_cent(f.call_ratio, f.call_ratio_interval),
        f"{f.calls:.2f}", f"{f.tokens:.0f}", f"{f.prompt_tokens:.0f}", f"{f.seconds:.2f}",
        f"{1000 * f.cost:.4f}", f"{1000 * f.cost_cached:.4f}",
    ]  # fmt: skip
