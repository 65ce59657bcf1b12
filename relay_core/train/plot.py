"""A run in one picture: accuracy, calls, and what the groups say of their prompts, rollout by rollout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from relay_core.errors import MissingExtraError
from relay_core.train.rewards import Scenario


def draw(rows: Sequence[Mapping[str, Any]], path: Path, title: str = "") -> None:
    """Write a PNG of the rows that GRPO left in ``rollouts.jsonl``.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("the training plot", "train") from error
    x = range(1, len(rows) + 1)
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots(2, 2)
    bands = sorted({name.partition("/")[2] for row in rows for name in row if name.startswith("accuracy/")})

    def line(ax: Any, name: str, label: str, **style: Any) -> None:
        if any(name in row for row in rows):
            ax.plot(x, [row.get(name, float("nan")) for row in rows], label=label, **style)

    accuracy, share, called, asked = axes.flat
    line(accuracy, "accuracy", "all", color="black")
    for band in bands:
        line(accuracy, f"accuracy/{band}", band)
    accuracy.set(title="accuracy of sampled answers", ylim=(0, 1.02))
    for which in Scenario:
        line(share, f"groups/{which}", str(which))
    share.set(title="share of groups", ylim=(0, 1.02))
    line(called, "called", "all", color="black")
    for band in bands:
        line(called, f"called/{band}", band)
    called.set(title="share of answers with a call", ylim=(0, 1.02), xlabel="rollout")
    line(asked, "requested", "n of a call (tokens)", color="tab:blue")
    asked.set(title="what a call asks for, and the call ratio", xlabel="rollout", yscale="log")
    ratio = asked.twinx()
    line(ratio, "call_ratio", "call ratio", color="tab:red")
    ratio.set_ylim(bottom=0)
    for ax in (accuracy, share, called):
        ax.legend(fontsize="small")
    handles = [*asked.get_legend_handles_labels()[0], *ratio.get_legend_handles_labels()[0]]
    if handles:
        asked.legend(handles=handles, fontsize="small")
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
