"""The plot of a run, from the figures that a rollout can have."""

import pytest

from relay_core.train.figures import figures
from relay_core.train.plot import draw
from testing.rollout_rows import HELPED, answer


@pytest.fixture
def drawn(monkeypatch):
    """The labels of the lines of each panel, by the panel's title."""
    from matplotlib.axes import Axes

    labels = {}
    inner = Axes.plot
    monkeypatch.setattr(
        Axes, "plot", lambda self, *a, **k: labels.setdefault(self, []).append(k["label"]) or inner(self, *a, **k)
    )
    return lambda: {ax.get_title(): names for ax, names in labels.items()}


def test_the_plot_of_a_run(tmp_path, drawn):
    without = [answer("a", 0, group="easy")]
    with_calls = [answer("a", 0, HELPED, group="easy", reward=0.9), answer("b", 0, group="hard")]
    draw([figures(rows) for rows in (without, with_calls, without)], tmp_path / "run.png", "a title")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    panels = drawn()
    assert panels["accuracy of sampled answers"] == ["all", "easy", "hard"]
    assert panels["tokens of a call, and the call ratio"] == ["requested (n)", "received"]
    assert panels[""] == ["call ratio (right)"]
    assert panels["mean reward"] == ["all", "student-solvable"] and len(panels) == 7
    assert len(panels["answers and calls that went wrong"]) == 4


def test_the_plot_of_a_run_without_calls(tmp_path):
    draw([{"step": 0, "accuracy": 0.5}], tmp_path / "run.png")
    assert (tmp_path / "run.png").stat().st_size > 10_000
