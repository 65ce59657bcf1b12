"""The pictures of a report, by matplotlib: accuracy against the teacher's share and against the bill, and the calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from relay_core.errors import MissingExtraError
from relay_core.evaluate.outcome import MadeCall
from relay_core.evaluate.records import Record
from relay_core.evaluate.report.figures import MethodFigures
from relay_core.evaluate.report.resampling import Estimate
from relay_core.evaluate.report.summary import BenchmarkSummary

_MARKERS = "oDsv^<>PXhd*p"
_BINS = 20
_SHOWN = 6  # methods in the pictures of calls
_SHOWN_BARS = 8  # methods in the picture of all benchmarks
Paint = Callable[[Any], None]
"""Draws into axes of matplotlib."""


def draw(summaries: Sequence[BenchmarkSummary], folder: Path) -> dict[str, list[Path]]:
    """Write the pictures as PNG files.

    Returns:
        The files of each benchmark, by its name; those of all benchmarks together by an empty name.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, list[Path]] = {"": []}
    for summary in summaries:
        panels: dict[str, Paint] = {"share": partial(_share, summary), "bill": partial(_bill, summary)}
        if any(record.outcome.calls for record in summary.records):
            panels |= {"places": partial(_places, summary), "lengths": partial(_lengths, summary)}
            panels |= {"groups": partial(_groups, summary)} if summary.methods[0].groups else {}
        name = summary.name.replace("/", "-")
        made[summary.name] = [_save(folder / f"{name}-{panel}.png", paint) for panel, paint in panels.items()]
    if len(summaries) > 1:
        made[""].append(draw_benchmarks(summaries, folder / "benchmarks.png"))
    return made


def draw_benchmarks(summaries: Sequence[BenchmarkSummary], path: Path) -> Path:
    """Write the accuracy of each method on each benchmark as a PNG file; raises what :func:`draw` does."""
    return _save(path, partial(_bars, summaries), width=3 + 1.5 * len(summaries))


def _save(path: Path, paint: Paint, *, width: float = 6.8) -> Path:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("the pictures of a report (matplotlib)", "eval") from error
    figure = Figure(figsize=(width, 5.2), layout="constrained")
    ax = figure.subplots()
    paint(ax)
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize="small", frameon=False)
    figure.savefig(path, dpi=110)
    return path


def _share(summary: BenchmarkSummary, ax: Any) -> None:
    _points(ax, summary, lambda m: m.call_ratio)
    ax.set_xscale("symlog", linthresh=0.01)
    ax.set_xlim(left=-0.0005, right=1.1)
    ax.set_xticks([0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1])
    ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    ax.set(title="accuracy and teacher's share", xlabel="teacher's share of the tokens, %", ylabel="accuracy, %")


def _bill(summary: BenchmarkSummary, ax: Any) -> None:
    _points(ax, summary, lambda m: _times(m.cost, 1000))
    ax.set_xlim(left=0)
    ax.set(
        title="accuracy and bill", xlabel="cost of 1,000 answers, everything read again included", ylabel="accuracy, %"
    )


def _times(estimate: Estimate, factor: float) -> Estimate:
    return Estimate(factor * estimate.value, (factor * estimate.low, factor * estimate.high))


def _points(ax: Any, summary: BenchmarkSummary, x: Callable[[MethodFigures], Estimate]) -> None:
    """Accuracy against ``x``: a point with its intervals for each method, a line for each curve and for the router."""
    student, teacher = summary.method("student"), summary.method("teacher")
    if student is not None and teacher is not None:
        steps = [i / 200 for i in range(201)]
        if x(teacher).value == teacher.call_ratio.value:  # shares of tokens are not linear in the router's p
            p = [s * teacher.tokens / max(1e-9, s * teacher.tokens + (1 - s) * student.tokens) for s in steps]
        else:
            p = [x(student).value + s * (x(teacher).value - x(student).value) for s in steps]
        y = [student.accuracy.value + s * (teacher.accuracy.value - student.accuracy.value) for s in steps]
        ax.plot(p, [100 * value for value in y], color="0.7", linestyle="--", label="random router, expected")
    curves: dict[str, list[MethodFigures]] = {}
    for method in summary.methods:
        curves.setdefault(method.curve, []).append(method)
    for number, (curve, methods) in enumerate(curves.items()):
        ordered = sorted(methods, key=lambda m: x(m).value)
        ax.errorbar(
            [x(m).value for m in ordered],
            [100 * m.accuracy.value for m in ordered],
            yerr=_bars_of([_times(m.accuracy, 100) for m in ordered]),
            xerr=_bars_of([x(m) for m in ordered]),
            label=curve if len(methods) > 1 else methods[0].label,
            color=f"C{number % 10}",
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=9 if curve == "relay" else 6,
            linewidth=1,
            elinewidth=0.8,
        )
    ax.grid(alpha=0.3)


def _bars_of(estimates: Sequence[Estimate]) -> list[list[float]]:
    """The lengths of error bars, below and above."""
    return [
        [max(0.0, e.value - e.low) for e in estimates],
        [max(0.0, e.high - e.value) for e in estimates],
    ]


def _calling(summary: BenchmarkSummary) -> list[MethodFigures]:
    """The methods whose calls are shown."""
    return [m for m in summary.methods if m.calls and m.method != "teacher"][:_SHOWN]


def _histogram(
    ax: Any, summary: BenchmarkSummary, value: Callable[[Record, MadeCall], float], high: float, bins: int
) -> None:
    for number, method in enumerate(_calling(summary)):
        records = [record for record in summary.records if record.method == method.method]
        values = [value(record, call) for record in records for call in record.outcome.calls]
        ax.hist(values, bins=bins, range=(0, high), histtype="step", color=f"C{number}", label=method.label)


def _places(summary: BenchmarkSummary, ax: Any) -> None:
    def place(record: Record, call: MadeCall) -> float:
        return min(1.0, call.place / max(1, record.outcome.usage.completion_tokens))

    _histogram(ax, summary, place, 1.0, _BINS)
    ax.set(title="where calls fall", xlabel="place in the answer (0: beginning, 1: end)", ylabel="calls")


def _lengths(summary: BenchmarkSummary, ax: Any) -> None:
    longest = max(call.received for record in summary.records for call in record.outcome.calls) + 1
    _histogram(ax, summary, lambda _, call: call.received, longest, min(longest, 2 * _BINS))
    ax.set(title="how long calls are", xlabel="teacher tokens of a call", ylabel="calls", yscale="log")


def _groups(summary: BenchmarkSummary, ax: Any) -> None:
    for number, method in enumerate(_calling(summary)):
        values = [100 * called for _, called in method.groups.values()]
        ax.plot(list(method.groups), values, marker="o", color=f"C{number}", label=method.label)
    ax.set(title="answers with a call", ylabel="%", ylim=(-3, 103))
    ax.tick_params(axis="x", rotation=30 if len(summary.methods[0].groups) > 4 else 0)


def _bars(summaries: Sequence[BenchmarkSummary], ax: Any) -> None:
    """The accuracy of each method on each benchmark; of many methods, those that are on all benchmarks come first."""
    specs = list(dict.fromkeys(m.method for summary in summaries for m in summary.methods))
    specs = sorted(specs, key=lambda spec: any(s.method(spec) is None for s in summaries))[:_SHOWN_BARS]
    width = 0.8 / len(specs)
    for number, spec in enumerate(specs):
        found = [(i, m) for i, s in enumerate(summaries) if (m := s.method(spec)) is not None]
        ax.bar(
            [i + (number - len(specs) / 2) * width for i, _ in found],
            [100 * m.accuracy.value for _, m in found],
            width,
            yerr=_bars_of([_times(m.accuracy, 100) for _, m in found]),
            error_kw={"elinewidth": 0.8},
            label=found[0][1].label,
        )
    ax.set_xticks(range(len(summaries)), [summary.title for summary in summaries])
    ax.set(ylabel="accuracy, %")
