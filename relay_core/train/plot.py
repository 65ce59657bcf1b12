"""The plot of a run: accuracy, scenarios of the groups of answers, calls and call ratio, rollout by rollout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from relay_core.errors import MissingExtraError
from relay_core.train.rewards import Scenario


def draw(rows: Sequence[Mapping[str, Any]], path: Path, title: str = "") -> None:
    """Write a PNG of the rows of ``rollouts.jsonl``.

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
    prefix = "accuracy/"
    groups = dict.fromkeys(name.removeprefix(prefix) for row in rows for name in row if name.startswith(prefix))

    def line(ax: Any, name: str, label: str, **style: Any) -> None:
        if any(name in row for row in rows):
            ax.plot(x, [row.get(name, float("nan")) for row in rows], label=label, **style)

    accuracy, scenarios, called, requested = axes.flat
    line(accuracy, "accuracy", "all", color="black")
    for group in groups:
        line(accuracy, f"accuracy/{group}", group)
    accuracy.set(title="accuracy of sampled answers", ylim=(0, 1.02))
    for scenario in Scenario:
        line(scenarios, f"groups/{scenario}", str(scenario))
    scenarios.set(title="share of groups", ylim=(0, 1.02))
    line(called, "called", "all", color="black")
    for group in groups:
        line(called, f"called/{group}", group)
    called.set(title="share of answers with a call", ylim=(0, 1.02), xlabel="rollout")
    line(requested, "requested", "n of a call (tokens)", color="tab:blue")
    requested.set(title="mean n of a call, and the call ratio", xlabel="rollout", yscale="log")
    ratio = requested.twinx()
    line(ratio, "call_ratio", "call ratio", color="tab:red")
    ratio.set_ylim(bottom=0)
    for ax in (accuracy, scenarios, called):
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize="small")
    handles = [*requested.get_legend_handles_labels()[0], *ratio.get_legend_handles_labels()[0]]
    if handles:
        requested.legend(handles=handles, fontsize="small")
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
