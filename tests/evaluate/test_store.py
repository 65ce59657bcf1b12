import json

from relay_core.evaluate.store import Journal, write_json


def test_rows_are_read_back(tmp_path):
    journal = Journal(tmp_path / "deep" / "rows.jsonl")
    journal.append({"i": 0})
    journal.append({"i": 1})
    assert Journal(journal.path).rows == journal.rows == [{"i": 0}, {"i": 1}]


def test_a_line_cut_short_by_a_kill_is_dropped(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"i": 0}\n{"i": 1, "te')
    journal = Journal(path)
    assert journal.rows == [{"i": 0}]
    journal.append({"i": 1})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"i": 0}, {"i": 1}]


def test_a_whole_row_without_its_newline_is_dropped_too(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"i": 0}\n{"i": 1}')
    Journal(path).append({"i": 1})
    assert Journal(path).rows == [{"i": 0}, {"i": 1}]


def test_keep_removes_the_other_rows(tmp_path):
    journal = Journal(tmp_path / "rows.jsonl")
    for i in range(4):
        journal.append({"i": i})
    journal.keep(lambda row: row["i"] < 2)
    assert Journal(journal.path).rows == [{"i": 0}, {"i": 1}]


def test_write_json(tmp_path):
    write_json(tmp_path / "a" / "x.json", {"k": [1]})
    assert json.loads((tmp_path / "a" / "x.json").read_text()) == {"k": [1]}
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["x.json"]
