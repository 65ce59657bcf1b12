"""All figures of an evaluation, benchmark by benchmark, from its records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from relay_core.evaluate.methods import has_other_base, named
from relay_core.evaluate.records import Record
from relay_core.evaluate.report.comparisons import AgainstRouter, Difference, against_router, difference
from relay_core.evaluate.report.figures import Answers, MethodFigures, clusters_of
from relay_core.evaluate.report.resampling import Resampling
from relay_core.settings import Prices


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkSummary:
    """One benchmark.

    ``methods``: the figures of each method, in the order of the run. ``differences``: the relay minus each other
    method; empty without the method ``relay``. ``router``: each method that calls against the random router; empty
    without ``student`` and ``teacher``, and without methods of another base student, whose gap is another one.
    ``clusters``: over which intervals are computed; fewer than the problems if several are answered alike
    (``Problem.cluster``). ``records``: all records.
    """

    name: str
    title: str
    problems: int
    clusters: int
    samples: int
    methods: Sequence[MethodFigures]
    differences: Sequence[Difference]
    router: Sequence[AgainstRouter]
    records: Sequence[Record]

    def method(self, spec: str) -> MethodFigures | None:
        """The figures of one method; its label and its limit do not count."""
        found = named(spec, (figures.method for figures in self.methods))
        return next((figures for figures in self.methods if figures.method == found), None)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; a value that is not a number is ``None``."""
        return {
            "benchmark": self.name,
            "title": self.title,
            "problems": self.problems,
            "clusters": self.clusters,
            "samples": self.samples,
            "methods": {figures.method: _plain(asdict(figures)) for figures in self.methods},
            "relay_minus": {d.method: _plain(asdict(d)) for d in self.differences},
            "against_random_router": {a.method: _plain(asdict(a)) for a in self.router},
        }


def summarize(
    records: Sequence[Record],
    prices: Prices,
    *,
    titles: Mapping[str, str] | None = None,
    speeds: Mapping[tuple[str, str], float] | None = None,
) -> list[BenchmarkSummary]:
    """The figures of every benchmark, in the order in which the records come.

    Args:
        records: of one evaluation.
        prices: prices per million tokens.
        titles: the benchmarks' titles, by name.
        speeds: tokens per second, by benchmark and method, where they were measured.
    """
    by_benchmark: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        by_benchmark.setdefault(record.benchmark, {}).setdefault(record.method, []).append(record)
    return [
        _benchmark(name, (titles or {}).get(name, name), methods, prices, speeds or {})
        for name, methods in by_benchmark.items()
    ]


def _benchmark(
    name: str,
    title: str,
    methods: Mapping[str, Sequence[Record]],
    prices: Prices,
    speeds: Mapping[tuple[str, str], float],
) -> BenchmarkSummary:
    found = [named(spec, methods) or "" for spec in ("relay", "student", "teacher")]
    prompts = {r.problem: r.outcome.usage.teacher_prompt_tokens for r in methods.get(found[-1], ())}
    problems = clusters_of(record for rows in methods.values() for record in rows)
    answers = {spec: Answers(rows, prices, prompts, problems) for spec, rows in methods.items()}
    resampling = Resampling([*problems.values()])
    relay, student, teacher = (answers.get(spec) for spec in found)
    others = [a for a in answers.values() if a is not relay]
    calling = [
        a
        for spec, a in answers.items()
        if a is not student and a is not teacher and any(a.teacher) and not has_other_base(spec)
    ]
    return BenchmarkSummary(
        name=name,
        title=title,
        problems=len(problems),
        clusters=resampling.clusters,
        samples=round(max(max(a.count) for a in answers.values())),
        methods=[a.figures(resampling, speeds.get((name, spec))) for spec, a in answers.items()],
        differences=[] if relay is None else [difference(relay, other, resampling) for other in others],
        router=(
            []
            if student is None or teacher is None
            else [against_router(a, student, teacher, resampling) for a in calling]
        ),
        records=[record for rows in methods.values() for record in rows],
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
