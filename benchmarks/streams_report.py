"""Shows the result of ``streams.py`` as a table and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def show(result: dict[str, Any]) -> None:
    """Print the result as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, title=f"{result['at_once']} streams at once, {result['server']} servers")
    growth, memory = result["growth_per_10000"], result["memory_mb"]
    table.add_row("right", f"{result['right']:,} of {result['requests']:,}")
    table.add_row("calls", f"{result['calls']:,}")
    table.add_row("requests/s", f"{result['requests_per_s']:,} ({result['seconds']:.0f} s)")
    table.add_row("tokens per CPU second", f"{result['tokens_per_cpu_s']:,} (of this process; {result['cpu_s']:.0f} s)")
    table.add_row("memory", f"{memory['first']:.0f} MB at first, {memory['last']:.0f} MB at last")
    table.add_row("its rise per 10,000", "unknown: too few samples" if growth is None else f"{growth:+.1%}")
    for name in ("descriptors", "tasks"):
        table.add_row(f"{name} before, after", f"{result[name]['before']}, {result[name]['after']}")
    for reason in result["wrong"]:
        table.add_row("wrong", reason[:200])
    Console().print(table)


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw memory, descriptors and tasks over the requests."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    done = [sample["done"] for sample in result["samples"]]
    top.plot(done, [sample["memory_mb"] for sample in result["samples"]], color="black")
    top.set(ylabel="resident memory, MB", ylim=(0, None))
    top.set_title(
        f"{result['at_once']} streams at once, {result['server']} servers: {result['right']:,} of "
        f"{result['requests']:,} answers right, {result['calls']:,} calls"
    )
    bottom.plot(done, [sample["descriptors"] for sample in result["samples"]], label="open descriptors")
    bottom.plot(done, [sample["tasks"] for sample in result["samples"]], label="tasks")
    bottom.set(xlabel="requests answered", ylim=(0, None))
    bottom.legend()
    figure.savefig(path, dpi=110)
