"""The paper's tables, each with our figures beside the paper's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from relay_core.evaluate.records import Record
from relay_core.evaluate.report.comparisons import difference
from relay_core.evaluate.report.figures import Answers, MethodFigures, clusters_of
from relay_core.evaluate.report.resampling import Estimate, Resampling
from relay_core.evaluate.report.summary import BenchmarkSummary
from relay_core.evaluate.report.tables import Table, percent
from relay_core.evaluate.reproduce.paper import ABLATIONS, AHEAD, MAIN, SAVED, Direction
from relay_core.settings import Prices

#: from a name in the paper's tables (a method, ``ablation:NAME``, ``weak:LABEL``) to the spec of a method of the run
Specs = Callable[[str], str]


def main_table(summary: BenchmarkSummary, specs: Specs) -> Table:
    """The paper's first table: student, plain GRPO, CITER, relay, teacher."""
    rows = []
    for name, (accuracy, ratio) in MAIN.items():
        found = _found(summary, specs(name))
        if found is not None:
            rows.append([
                found.label, percent(found.accuracy), percent(found.call_ratio), f"{accuracy:.2f}",
                "-" if ratio is None else f"{ratio:.2f}",
            ])  # fmt: skip
    headings = ["method", "accuracy %", "call ratio %", "paper: accuracy %", "paper: call ratio %"]
    note = (
        "The paper's: Qwen3-1.7B with Qwen3-8B, the mean of six benchmarks. Another task and other models: it is the "
        "order that can be compared, and how much of the gap is recovered at which call ratio."
    )
    return Table(f"Main table: {summary.title}", headings, rows, note)


def router_table(summary: BenchmarkSummary) -> Table:
    """The relay against the random router."""
    relay = next((a for a in summary.router if a.method == "relay"), None)
    rows = []
    if relay is not None:
        rows = [
            ["gap between student and teacher that is recovered, %", percent(relay.recovered), "60.4"],
            ["teacher tokens saved against the performance-matched router, %", percent(relay.saved), f"{SAVED}"],
            ["points ahead of the router with the same teacher tokens", percent(relay.gain, signed=True), f"+{AHEAD}"],
            ["points ahead of the router with the same bill", percent(relay.gain_at_cost, signed=True), "-"],
        ]
    note = (
        "The paper counts written tokens only, and so do the second and the third line. "
        "60.4 = (49.52 - 42.50) / (54.12 - 42.50)."
    )
    return Table("Against a random router", ["", "ours", "paper"], rows, note)


def ablation_table(summary: BenchmarkSummary, specs: Specs) -> Table:
    """The paper's ablations of rewards and filter: each student is a relay with the same teacher."""
    rows = []
    for name, (accuracy, ratio) in ABLATIONS.items():
        found = _found(summary, specs(f"ablation:{name}"))
        if found is not None:
            rows.append([
                name, percent(found.accuracy), percent(found.call_ratio), f"{100 * found.called:.0f}",
                "-" if accuracy is None else f"{accuracy:.2f}", "-" if ratio is None else f"{ratio:.2f}",
            ])  # fmt: skip
    headings = [
        "training", "accuracy %", "call ratio %", "answers with a call %", "paper: accuracy %", "paper: call ratio %"
    ]  # fmt: skip
    note = "All students are from one warm-up, the paper's with commands at random places, and from one seed."
    return Table("Rewards and filter", headings, rows, note)


def direction_table(
    summaries: Sequence[BenchmarkSummary], directions: Sequence[Direction], specs: Specs, unseen: str
) -> Table:
    """Each comparison of the paper: our difference with its interval, and whether it has the paper's sign."""
    rows = []
    for direction in directions:
        name = unseen if direction.on == "unseen" else summaries[0].name
        summary = next((s for s in summaries if s.name == name), None)
        measured = None if summary is None else _difference(summary, direction, specs)
        if measured is not None:
            rows.append([direction.said, percent(measured, signed=True), _agreement(measured, direction.sign)])
    note = (
        "The first method's figure minus the second's, in points, paired by problem; 95% intervals by bootstrap. "
        "Undecided: the interval holds 0."
    )
    return Table("The paper's comparisons", ["the paper says", "our difference", "as in the paper?"], rows, note)


def order_table(by_seed: Mapping[int, BenchmarkSummary], specs: Sequence[str]) -> Table:
    """The order of the methods by accuracy, for each seed; methods of one place differ by less than their intervals."""
    rows = []
    answers = [_by_method(summary, specs) for summary in by_seed.values()]
    for spec in specs:
        found = [s.method(spec) for s in by_seed.values()]
        if all(f is not None for f in found):
            figures = [f for f in found if f is not None]
            cells = [
                f"{_place(spec, by_method)}: {percent(f.accuracy)} at {100 * f.call_ratio.value:.1f}"
                for by_method, f in zip(answers, figures, strict=True)
            ]
            rows.append([figures[0].label, *cells])
    note = (
        "Place: accuracy in per cent, at the call ratio in per cent. A method's place is 1 plus the number of methods "
        "that are certainly more accurate (their paired difference's interval does not hold 0)."
    )
    return Table("Seeds", ["method", *(f"seed {seed}" for seed in by_seed)], rows, note)


def _found(summary: BenchmarkSummary, spec: str) -> MethodFigures | None:
    """The method of this spec; of several on one curve, the one whose call ratio is next to the relay's."""
    exact = summary.method(spec)
    relay = summary.method("relay")
    beginning = f"{spec}," if ":" in spec else f"{spec}:"
    curve = [m for m in summary.methods if m.method.startswith(beginning)]
    if exact is not None or not curve:
        return exact
    target = 0.0 if relay is None else relay.call_ratio.value
    return min(curve, key=lambda m: abs(m.call_ratio.value - target))


def _by_method(summary: BenchmarkSummary, specs: Sequence[str]) -> dict[str, Answers]:
    """The answers of each of these methods that was measured."""
    records: dict[str, list[Record]] = {spec: [] for spec in specs}
    for record in summary.records:
        if record.method in records:
            records[record.method].append(record)
    problems = clusters_of(summary.records)
    return {spec: Answers(rows, Prices(), {}, problems) for spec, rows in records.items() if rows}


def _difference(summary: BenchmarkSummary, direction: Direction, specs: Specs) -> Estimate | None:
    pair = []
    for name in (direction.first, direction.second):
        found = _found(summary, specs(name))
        records = [
            record
            for record in summary.records
            if found is not None
            and record.method == found.method
            and (not direction.groups or record.group in direction.groups)
        ]
        if not records:
            return None
        pair.append(Answers(records, Prices(), {}, clusters_of(summary.records)))
    made = difference(pair[0], pair[1], Resampling([*pair[0].problems.values()]))
    return made.accuracy if direction.what == "accuracy" else made.call_ratio


def _agreement(measured: Estimate, sign: int) -> str:
    if measured.low <= 0 <= measured.high:
        return "undecided"
    return "yes" if measured.value * sign > 0 else "no: the opposite"


def _place(spec: str, by_method: Mapping[str, Answers]) -> int:
    resampling = Resampling([*by_method[spec].problems.values()])
    others = (difference(answers, by_method[spec], resampling) for s, answers in by_method.items() if s != spec)
    return 1 + sum(d.accuracy.low > 0 for d in others)
