"""Shows the result of ``serving.py`` as tables and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLOURS = {
    "student": "tab:gray",
    "teacher": "tab:brown",
    "relay": "tab:blue",
    "warming": "tab:orange",
    "lockstep": "tab:red",
}


def show(result: dict[str, Any]) -> None:
    """Print a table for each pair."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.width = max(console.width, 104)
    for pair, by_requests in result["pairs"].items():
        table = Table(title=f"{pair} pair, vLLM on this machine; times in ms as p50 / p95")
        columns = ("requests", "method", "tokens/s", "first token", "hand-over", "in steps", "ratio to ideal")
        for column in (*columns, "over lock-step", "same answers"):
            table.add_column(column, justify="left" if column == "method" else "right", no_wrap=column == "method")
        for requests, methods in by_requests.items():
            for name, figures in methods.items():
                times = [_milliseconds(figures["first_token_s"]), _milliseconds(figures.get("handover_s"))]
                keys = ("handover_steps", "ratio_to_ideal", "over_lockstep", "same_answers_as_lockstep")
                ratios = ["-" if figures.get(key) is None else f"{figures[key]:.2f}" for key in keys]
                table.add_row(requests, name, f"{figures['tokens_per_s']:,.0f}", *times, *ratios)
            table.add_section()
        console.print(table)


def _milliseconds(percentiles: dict[str, float] | None) -> str:
    return "-" if percentiles is None else f"{percentiles['p50'] * 1000:,.0f} / {percentiles['p95'] * 1000:,.0f}"


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw tokens/s, first token and hand-over of every method: one row a pair, with whiskers up to p95."""
    from matplotlib.figure import Figure

    pairs = result["pairs"]
    figure = Figure(figsize=(13, 3.6 * len(pairs)), layout="constrained")
    grid = figure.subplots(len(pairs), 3, squeeze=False)
    titles = {"tokens_per_s": "tokens/s", "first_token_s": "first token, ms", "handover_s": "hand-over, ms"}
    for row, (pair, by_requests) in zip(grid, pairs.items(), strict=True):
        names = list(dict.fromkeys(name for methods in by_requests.values() for name in methods))
        for axes, (key, title) in zip(row, titles.items(), strict=True):
            for i, name in enumerate(names):
                offset = (i - (len(names) - 1) / 2) * 0.8 / len(names)
                values = [methods.get(name, {}).get(key) for methods in by_requests.values()]
                _draw_bars(axes, [x + offset for x in range(len(by_requests))], values, 0.75 / len(names), name)
            axes.set_xticks(range(len(by_requests)), [f"{requests} at once" for requests in by_requests])
            axes.set_title(f"{pair}: {title}")
            # One request's bars stand beside those of many. (A hand-over's cost can be negative: no logarithm.)
            if key != "handover_s" and axes.patches and len(by_requests) > 1:
                axes.set_yscale("log")
        row[0].legend(fontsize="x-small")
    figure.savefig(path, dpi=110)


def _draw_bars(axes: Any, positions: Sequence[float], values: Sequence[Any], width: float, name: str) -> None:
    """Draw one method's bars.

    A value is a number; or p50 and p95 in seconds, drawn in milliseconds with a whisker; or ``None``, which has no bar.
    """
    method, _, delay = name.partition(" ")
    style = {"color": COLOURS[method], "alpha": 0.5 if delay else 1.0, "hatch": "//" if delay else None}
    bars = [(position, value) for position, value in zip(positions, values, strict=True) if value is not None]
    heights = [value if isinstance(value, float) else value["p50"] * 1000 for _, value in bars]
    whiskers = [0 if isinstance(value, float) else (value["p95"] - value["p50"]) * 1000 for _, value in bars]
    axes.bar(
        [position for position, _ in bars], heights, width, yerr=[[0] * len(whiskers), whiskers], label=name, **style
    )
