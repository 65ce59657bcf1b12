"""The plot of a run: six panels of figures (``figures.py``), rollout by rollout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from relay_core.errors import MissingExtraError
from relay_core.train.rewards import Scenario

_WENT_WRONG = {
    "truncated": "cut by a limit (share of answers)",
    "dropped": "dropped: the teacher failed (share of answers)",
    "refused": "refused calls per answer",
    "malformed": "malformed calls per answer",
}


def draw(rows: Sequence[Mapping[str, Any]], path: Path, title: str = "") -> None:
    """Write a PNG of the rows of ``rollouts.jsonl``.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("the training plot", "train") from error
    figure = Figure(figsize=(14, 7), layout="constrained")
    accuracy, scenarios, called, reward, tokens, wrong = figure.subplots(2, 3).flat
    prefix = "accuracy/"
    groups = dict.fromkeys(name.removeprefix(prefix) for row in rows for name in row if name.startswith(prefix))

    _lines(accuracy, rows, {"accuracy": "all", **{f"accuracy/{group}": group for group in groups}})
    accuracy.set(title="accuracy of sampled answers", ylim=(0, 1.02))
    _lines(scenarios, rows, {f"groups/{scenario}": str(scenario) for scenario in Scenario})
    scenarios.set(title="share of groups", ylim=(0, 1.02))
    _lines(called, rows, {"called": "all", **{f"called/{group}": group for group in groups}})
    called.set(title="share of answers with a call", ylim=(0, 1.02))
    _lines(reward, rows, {"reward": "all", **{f"reward/{scenario}": str(scenario) for scenario in Scenario}})
    reward.set(title="mean reward", xlabel="rollout")
    _lines(tokens, rows, {"requested": "requested (n)"})
    _lines(tokens, rows, {"received": "received"}, linestyle="--")  # often the same line
    numbers = [row[name] for row in rows for name in ("requested", "received") if row.get(name)]
    scale = "log" if numbers and max(numbers) > 10 * min(numbers) else "linear"
    tokens.set(title="tokens of a call, and the call ratio", xlabel="rollout", yscale=scale)
    ratio = tokens.twinx()
    _lines(ratio, rows, {"call_ratio": "call ratio (right)"}, color="tab:red")
    ratio.set_ylim(bottom=0)
    _lines(wrong, rows, _WENT_WRONG)
    wrong.set(title="answers and calls that went wrong", xlabel="rollout")
    wrong.set_ylim(bottom=0)
    for axes in ((accuracy,), (scenarios,), (called,), (reward,), (tokens, ratio), (wrong,)):
        handles = [handle for ax in axes for handle in ax.get_legend_handles_labels()[0]]
        if handles:
            axes[0].legend(handles=handles, fontsize="small")
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def _lines(ax: Any, rows: Sequence[Mapping[str, Any]], labels: Mapping[str, str], **style: Any) -> None:
    """Draw one line for each figure that some row holds; the line over all answers is black."""
    for name, label in labels.items():
        if any(name in row for row in rows):
            values = [row.get(name, float("nan")) for row in rows]
            color = {"color": "black"} if label == "all" else {}
            ax.plot(range(1, len(rows) + 1), values, label=label, marker=".", markersize=3, **color, **style)
