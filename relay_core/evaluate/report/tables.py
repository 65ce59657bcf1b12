"""The tables of a report, as rows of text; ``markdown.py`` and ``html.py`` lay them out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from relay_core.evaluate.methods import has_other_base
from relay_core.evaluate.prices import EXAMPLE_PRICES
from relay_core.evaluate.report.figures import MethodFigures
from relay_core.evaluate.report.resampling import Estimate
from relay_core.evaluate.report.summary import BenchmarkSummary
from relay_core.settings import Prices


@dataclass(frozen=True, slots=True)
class Table:
    """A table. The first column holds names; ``note`` says what the columns mean."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def percent(estimate: Estimate, *, signed: bool = False) -> str:
    """A share with its interval, in per cent, such as ``89.7 (86.3 to 93.0)``."""
    if not math.isfinite(estimate.value):
        return "-"
    sign = "+" if signed else ""
    value, low, high = (100 * number for number in (estimate.value, estimate.low, estimate.high))
    return f"{value:{sign}.1f} ({low:{sign}.1f} to {high:{sign}.1f})"


def counted(number: int, what: str) -> str:
    """A number of things, such as ``1 problem`` or ``2 problems``."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def in_words(estimate: Estimate, *, signed: bool = False) -> str:
    """A share with its interval in a sentence, such as ``89.7% (86.3 to 93.0)``; signed ones are points."""
    value, _, interval = percent(estimate, signed=signed).partition(" ")
    return f"{value}{' points' if signed else '%'} {interval}"


def tables(summary: BenchmarkSummary, prices: Prices) -> list[Table]:
    """All tables of a benchmark; those that would be empty are left out."""
    made = [
        _methods(summary),
        _costs(summary, prices),
        _groups(summary),
        _differences(summary),
        _router(summary),
    ]
    return [table for table in made if table.rows]


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _methods(summary: BenchmarkSummary) -> Table:
    def row(m: MethodFigures) -> list[str]:
        return [
            m.label, percent(m.accuracy), percent(m.call_ratio), f"{m.calls:.2f}", f"{100 * m.called:.0f}",
            _number(m.requested), _number(m.received), f"{m.tokens:,.0f}", f"{m.teacher_tokens:,.1f}",
            f"{m.seconds:.1f}", _number(m.tokens_per_s, 0), f"{100 * m.truncated:.1f}", f"{100 * m.unanswered:.1f}",
            str(m.ungraded),
        ]  # fmt: skip

    headings = [
        "method", "accuracy %", "call ratio %", "calls", "answers with a call %", "requested", "received", "tokens",
        "teacher tokens", "seconds", "tokens/s", "truncated %", "unanswered %", "ungraded",
    ]  # fmt: skip
    is_clustered = summary.clusters < summary.problems
    drawn = f"{summary.clusters} clusters of problems that are answered alike" if is_clustered else "problems"
    note = (
        f"With 95% intervals, by bootstrap over {drawn}. Calls, tokens and seconds are per answer, requested and "
        "received tokens per call. Seconds are of one answer while others ran beside it; tokens/s are those of all "
        "answers together, where this run answered. A truncated answer (a limit cut it) and an unanswered one (it "
        "states no final answer) are wrong; ungraded answers, on which the grader failed, are in no accuracy."
    )
    return Table("Methods", headings, [row(m) for m in summary.methods], note)


def _costs(summary: BenchmarkSummary, prices: Prices) -> Table:
    rows = [
        [m.label, f"{1000 * m.cost.value:.4f} ({1000 * m.cost.low:.4f} to {1000 * m.cost.high:.4f})",
         f"{1000 * m.cost_cached:.4f}", f"{1000 * m.cost_written:.4f}", f"{m.read:,.0f}"]
        for m in summary.methods
    ]  # fmt: skip
    kind = "Example prices (yours: --price)" if prices == EXAMPLE_PRICES else "Prices"
    note = (
        "Of 1,000 answers. Read and written: every token of every request, the context that each call reads again "
        "included, without caching. Cached: what an answer reads again is paid at the price of cached input. Written "
        f"only: as the paper counts. {kind} per million tokens: student {prices.student_input:g} in, "
        f"{_cached(prices.student_cached_input, prices.student_input)} cached, {prices.student_output:g} out; teacher "
        f"{prices.teacher_input:g} in, {_cached(prices.teacher_cached_input, prices.teacher_input)} cached, "
        f"{prices.teacher_output:g} out."
    )
    others = [m.label for m in summary.methods if has_other_base(m.method)]
    if others:
        note += f" {' and '.join(others)}: with the prices of the run's student, whose place another one takes there."
    return Table(
        "Cost", ["method", "read and written", "cached", "written only", "tokens read by the teacher"], rows, note
    )


def _cached(price: float | None, uncached: float) -> str:
    return f"{uncached if price is None else price:g}"


def _groups(summary: BenchmarkSummary) -> Table:
    groups = list(dict.fromkeys(group for m in summary.methods for group in m.groups))
    if len(groups) > 24:
        return Table("", [], [])
    rows = [
        [
            m.label,
            *(f"{100 * m.groups[g][0]:.1f} / {100 * m.groups[g][1]:.0f}" if g in m.groups else "-" for g in groups),
        ]
        for m in summary.methods
    ]
    note = "Accuracy / share of answers with a call, both in per cent, in each group of problems."
    return Table("Groups of problems", ["method", *groups], rows if groups else [], note)


def _differences(summary: BenchmarkSummary) -> Table:
    rows = [
        [d.label, percent(d.accuracy, signed=True), percent(d.call_ratio, signed=True),
         f"{1000 * d.cost.value:+.4f} ({1000 * d.cost.low:+.4f} to {1000 * d.cost.high:+.4f})"]
        for d in summary.differences
    ]  # fmt: skip
    note = "The relay's figure minus the method's, paired by problem. Cost of 1,000 answers, without caching."
    headings = ["relay against", "accuracy, points", "call ratio, points", "cost"]
    return Table("The relay against each method", headings, rows, note)


def _router(summary: BenchmarkSummary) -> Table:
    rows = [
        [a.label, percent(a.recovered), percent(a.share), percent(a.saved), percent(a.gain, signed=True),
         percent(a.gain_at_cost, signed=True)]
        for a in summary.router
    ]  # fmt: skip
    headings = [
        "method", "gap recovered %", "router's share %", "teacher tokens saved %", "points ahead, same tokens",
        "points ahead, same cost",
    ]  # fmt: skip
    note = (
        "Gap recovered: (method - student) / (teacher - student). The router sends whole prompts to the teacher at "
        "random. Its share is the one at which it is as accurate as the method, and the tokens saved are those of the "
        "teacher against it there. Points ahead: the method's accuracy minus the router's, at the same number of "
        "teacher tokens, and at the same cost (read and written)."
    )
    return Table("Against a random router", headings, rows, note)
