import pytest

from relay_core.errors import ConfigurationError
from relay_core.evaluate import records
from relay_core.evaluate.outcome import MadeCall, Part
from testing.answer_records import record


def test_a_file_and_its_folder_read_the_same(tmp_path):
    rows = [record("relay", i, i % 2, calls=1, teacher_cached_tokens=None) for i in range(3)]
    path = records.write(tmp_path, rows)
    assert records.read(path) == records.read(tmp_path) == records.read(str(tmp_path)) == rows
    assert not list(tmp_path.glob(".*"))


def test_parts_calls_and_missing_values_survive(tmp_path):
    from dataclasses import replace

    one = record("relay", 1, True)
    outcome = replace(
        one.outcome, parts=(Part("student", "a\nb", 2), Part("teacher", "ü", 1)),
        calls=(MadeCall(2, 9, 1, 0.5), MadeCall(2, 9, 0, 0.1, "timed out")), mean_logprob=-0.25, chose="teacher",
    )  # fmt: skip
    records.write(tmp_path, [replace(one, outcome=outcome, stated=None)])
    (found,) = records.read(tmp_path)
    assert found.outcome == outcome and found.stated is None and found.outcome.min_logprob is None


def test_a_file_from_before_clusters_is_read(tmp_path):
    import pyarrow.parquet

    one = record("relay", 1, True, cluster="sum/3/5")
    path = records.write(tmp_path, [one])
    assert records.read(tmp_path) == [one]
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).drop_columns("cluster"), path)
    assert records.read(tmp_path) == [record("relay", 1, True)]


def test_what_holds_no_records_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="write the folder of an evaluation"):
        records.read(tmp_path)
    (tmp_path / records.FILE).write_bytes(b"no parquet")
    with pytest.raises(ConfigurationError, match="holds no records"):
        records.read(tmp_path)


def test_a_disk_that_is_full_leaves_the_file_before(tmp_path, monkeypatch):
    before = [record("relay", 1, True)]
    records.write(tmp_path, before)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        records.write(tmp_path, [])
    assert records.read(tmp_path) == before and not list(tmp_path.glob(".*"))
