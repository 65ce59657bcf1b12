"""GRPO's progress: a live table on a terminal, and elsewhere the lines of every other stage."""

import io
import re

import pytest

from relay_core.train import live_table
from relay_core.train.live_table import LiveTable

FIGURES = {
    "accuracy": 0.5,
    "reward": -0.25,
    "call_ratio": 0.1234,
    "groups/student-solvable": 0.75,
    "sampler_gap/max": 2e-5,
}


@pytest.fixture
def terminal(monkeypatch):
    """The text that is written to a terminal of 70 columns."""
    from rich.console import Console

    written = io.StringIO()
    monkeypatch.setattr(
        "rich.console.Console",
        lambda **_: Console(file=written, force_terminal=True, width=70, height=30, color_system=None, _environ={}),
    )
    return written


def test_off_a_terminal_a_line_follows_each_rollout(capsys):
    with LiveTable("grpo", 3, done=1, every_s=0.0) as progress:
        progress.show(FIGURES)
        progress.step("rho 0.123")
        progress.show(FIGURES)
        progress.step("rho 0.100")
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(r"\d+s", "_s", line) for line in lines] == ["grpo 2/3 _s rho 0.123", "grpo 3/3 _s rho 0.100"]


def test_on_a_terminal_the_last_rollouts_stand_in_a_table(terminal):
    with LiveTable("grpo", 20, done=4) as progress:
        for i in range(live_table._ROLLOUTS + 2):
            progress.show({**FIGURES, "accuracy": i / 100})
            progress.step("a note that only lines show")
    last = terminal.getvalue().rpartition("rollout ")[2]  # the table as it was drawn last
    numbers = re.findall(r"^ *(\d+) +(0\.\d+) +-0\.25 +12\.3% +75% +2\.0e-05", last, re.MULTILINE)
    assert [int(number) for number, _ in numbers] == list(range(7, 15))
    assert numbers[-1][1] == "0.090" and "14/20" in last
    assert "only lines show" not in terminal.getvalue()


def test_without_figures_the_note_stands_beside_the_bar(terminal):
    with LiveTable("warm-up", 2) as progress:
        progress.step("loss 0.1234")
    assert "1/2" in terminal.getvalue() and "loss 0.1234" in terminal.getvalue()


def test_columns_that_do_not_fit_are_left_out(terminal):
    with LiveTable("grpo", 2) as progress:
        progress.show(dict.fromkeys((name for _, name, _ in live_table._COLUMNS), 1000.0))
        table = progress.table()
    headings = [column.header for column in table.columns]
    assert headings[:3] == ["rollout", "accuracy", "reward"] and "gap" not in headings
    assert "…" not in terminal.getvalue()


def test_the_table_ends_with_an_error(terminal):
    def fail():
        with LiveTable("grpo", 2) as progress:
            progress.show(FIGURES)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert terminal.getvalue().endswith("\x1b[?25h")  # the cursor is back
