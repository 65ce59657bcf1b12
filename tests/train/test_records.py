"""The answers of rollouts in Parquet: what is written, how others read it, and what happens when writing fails."""

import os

import pytest

from relay_core import ConfigurationError
from relay_core.train import records
from testing.rollout_rows import HELPED, answer, run_folder


def test_what_is_written_is_what_is_read(tmp_path):
    from pyarrow import parquet

    rows = [answer("a", 0), answer("a", 1, HELPED, reward=None, scenario=None, sampler_gap=None)]
    path = records.RolloutFile(tmp_path).write(12, rows)
    assert path == tmp_path / "rollouts" / "step-00012.parquet"
    assert parquet.read_table(path).to_pylist() == [{**row, "step": 12} for row in rows]
    assert parquet.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
    assert parquet.ParquetFile(path).schema_arrow == records.schema()


def test_columns_without_a_value_keep_their_types(tmp_path):
    """A rollout without calls, rewards or log-probabilities has the schema of every other."""
    from pyarrow import parquet

    empty = answer("a", 0, requested=[], received=[], call_seconds=[], logprobs=[], reward=None, sampler_gap=None)
    file = records.RolloutFile(tmp_path)
    paths = [file.write(0, [empty]), file.write(1, [{"problem": "b"}]), file.write(2, [])]
    assert {parquet.ParquetFile(path).schema_arrow == records.schema() for path in paths} == {True}


def test_pandas_and_datasets_read_the_folder(tmp_path):
    import datasets
    import pandas

    run_folder(tmp_path)
    folder = tmp_path / "grpo" / "rollouts"
    (folder / ".step-00004.parquet.tmp").write_bytes(b"a file that is being written")
    frame = pandas.read_parquet(folder)
    assert list(frame.groupby("step").size()) == [4, 4] and frame.reward.max() == 1.5
    data = datasets.load_dataset("parquet", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert data.num_rows == 8 and sorted(data.column_names) == sorted(records.COLUMNS)
    assert data[2]["authors"].count("teacher") == data[2]["env_mask"].count(0) == 3


def test_a_repeated_step_replaces_its_file(tmp_path):
    from pyarrow import parquet

    file = records.RolloutFile(tmp_path)
    file.write(2, [answer("a", 0)])
    path = file.write(2, [answer("b", 0), answer("b", 1)])
    assert parquet.read_table(path, columns=["problem"]).to_pylist() == [{"problem": "b"}] * 2
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_failure_leaves_the_earlier_file_and_nothing_else(tmp_path, monkeypatch):
    file = records.RolloutFile(tmp_path)
    path = file.write(2, [answer("a", 0)])
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        file.write(2, [answer("b", 0)])
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_value_without_a_column_is_refused(tmp_path):
    with pytest.raises(ValueError, match="mood: no such column"):
        records.RolloutFile(tmp_path).write(0, [answer("a", 0, mood="good")])


@pytest.mark.parametrize("inner", [".", "grpo", "grpo/rollouts"])
def test_files_are_found_from_each_folder_of_a_run(tmp_path, inner):
    run_folder(tmp_path)
    (tmp_path / "grpo" / "rollouts" / "step-old.parquet").touch()
    assert list(records.files(tmp_path / inner)) == [0, 2]


def test_a_folder_without_rollouts_is_refused_with_what_to_write(tmp_path):
    with pytest.raises(ConfigurationError, match="holds no rollouts: write the folder of a run"):
        records.files(tmp_path)
    with pytest.raises(ConfigurationError, match="holds no rollouts"):
        records.files(tmp_path / "nowhere")
