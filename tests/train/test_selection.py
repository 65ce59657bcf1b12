"""Which answers of a run are selected, the figures beside them, and files that cannot be read."""

import pytest

from relay_core import ConfigurationError
from relay_core.train.selection import Query, select
from testing.rollout_rows import DEPENDENT, SOLVABLE, UNSOLVABLE, run_folder

ALL = ["divide/0", "divide/1", "add/0", "add/1", "add/0", "add/1", "multiply/0", "multiply/1"]


def chosen(folder, **query):
    return [f"{row['problem']}/{row['k']}" for row in select(folder, Query(**query)).rows]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ALL),
        ({"steps": [0]}, ALL[4:]),
        ({"scenarios": [DEPENDENT, UNSOLVABLE]}, ["divide/0", "divide/1", "multiply/0", "multiply/1"]),
        ({"problem": "multi"}, ["multiply/0", "multiply/1"]),
        ({"correct": True}, ["add/0", "add/0", "multiply/0"]),
        ({"correct": False, "called": True}, ["divide/1"]),
        ({"called": False, "steps": [2]}, ["divide/0", "add/0"]),
        ({"dropped": True}, ["add/1"]),
        ({"best": True}, ["divide/1", "add/0", "add/0", "multiply/0"]),
        ({"worst": True}, ["divide/0", "add/0", "add/1", "multiply/1"]),  # a dropped answer has no reward
        ({"best": True, "worst": True, "steps": [0]}, ["add/0", "add/1", "multiply/0", "multiply/1"]),
        ({"best": True, "correct": False, "steps": [0]}, ["add/1", "multiply/1"]),
        ({"limit": 3}, ALL[:3]),
        ({"limit": 5}, ALL[:5]),
    ],
)
def test_a_query_selects(tmp_path, query, expected):
    assert chosen(run_folder(tmp_path), **query) == expected


def test_figures_are_of_all_rollouts_that_were_looked_at(tmp_path):
    selection = select(run_folder(tmp_path), Query(limit=1))
    assert (selection.rollouts, selection.answers, selection.dropped, selection.matching) == (2, 8, 1, 8)
    assert selection.groups == {SOLVABLE: 2, DEPENDENT: 1, UNSOLVABLE: 1}
    assert selection.accuracy == pytest.approx(3 / 7)
    first = select(tmp_path, Query(steps=[0], correct=True))
    assert (first.rollouts, first.answers, first.accuracy, first.matching) == (1, 4, 0.5, 2)


def test_a_file_that_cannot_be_read_is_passed_over_and_named(tmp_path):
    folder = run_folder(tmp_path) / "grpo" / "rollouts"
    whole = (folder / "step-00002.parquet").read_bytes()
    (folder / "step-00002.parquet").write_bytes(whole[: len(whole) // 2])  # a copy that broke off
    (folder / "step-00004.parquet").write_bytes(b"")
    selection = select(tmp_path, Query())
    assert selection.rollouts == 1 and len(selection.rows) == 4
    assert [line.partition(" ")[0] for line in selection.skipped] == ["step-00004.parquet", "step-00002.parquet"]
    (folder / "step-00000.parquet").unlink()
    with pytest.raises(ConfigurationError, match=r"no rollout in .* can be read: step-00004.parquet cannot be read"):
        select(tmp_path, Query())


def test_a_file_of_something_else_is_passed_over(tmp_path):
    import pyarrow
    from pyarrow import parquet

    folder = run_folder(tmp_path) / "grpo" / "rollouts"
    parquet.write_table(pyarrow.table({"colour": ["red"]}), folder / "step-00009.parquet")
    selection = select(tmp_path, Query())
    assert selection.rollouts == 2 and selection.skipped[0].startswith("step-00009.parquet cannot be read")


def test_a_step_without_a_rollout_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="no rollout at step 1: its steps are 0 to 2"):
        select(run_folder(tmp_path), Query(steps=[1]))
