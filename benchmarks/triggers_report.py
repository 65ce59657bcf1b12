"""The table and the picture of ``benchmarks/triggers.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from relay_core.evaluate.chart import Point, chart
from relay_core.evaluate.figures import routed_share
from relay_core.evaluate.table import aligned, in_per_cent


def show(result: dict[str, Any]) -> None:
    """Print one row per method."""
    headings = ["", "accuracy", "call ratio", "calls", "tokens", "ended", "router", "relay - router"]
    lines = [headings, _cells("student alone", result["alone"]["student"])]
    lines += [_cells(name, row) for name, row in result["triggers"].items()]
    lines.append(_cells("teacher alone", result["alone"]["teacher"]))
    print(f"{result['n']} prompts, in per cent with 95% intervals; calls and tokens per answer")
    print("\n".join(aligned(lines)))


def _cells(name: str, row: dict[str, Any]) -> list[str]:
    cells = [
        name, in_per_cent(row["score"], row["score_interval"]),
        in_per_cent(row["call_ratio"], row["call_ratio_interval"]), f"{row['calls']:.2f}", f"{row['tokens']:.0f}",
        f"{row['ended']:.0%}",
    ]  # fmt: skip
    if "router" not in row:
        return [*cells, "", ""]
    low, high = row["advantage_interval"]
    compared = f"{100 * row['advantage']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    return [*cells, f"{100 * row['router']:.1f}", compared]


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw accuracy against call ratio: ``uncertain`` as disks, ``chance`` as circles."""
    student, teacher = result["alone"]["student"], result["alone"]["teacher"]

    def router(call_ratio: float) -> float:
        sent = routed_share(call_ratio, student["tokens"], teacher["tokens"])
        return float(student["score"] + sent * (teacher["score"] - student["score"]))

    points = [
        Point(name, row["call_ratio"], row["score"], tuple(row["score_interval"]), hollow=name.startswith("chance"))
        for name, row in result["triggers"].items()
    ]
    picture = chart(
        points, student=student["score"], teacher=teacher["score"], router=router,
        x_title="call ratio (share of the tokens that the teacher writes)", y_title="accuracy",
    )  # fmt: skip
    path.write_text(picture, encoding="utf-8")
