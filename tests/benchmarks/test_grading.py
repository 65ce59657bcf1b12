import json
from pathlib import Path

from benchmarks.grading import main

DATA = Path(__file__).parents[1] / "evaluate" / "benchmarks" / "data"


def test_the_published_solutions_of_the_fixtures(capsys):
    assert main(["--data-dir", str(DATA), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    by_label = result["benchmarks"]
    assert set(by_label) >= {"gsm8k", "math-500", "minerva", "olympiad-bench", "aime-2024"} and result["start_s"] > 0
    assert [r["agrees"] for r in by_label.values() if r["is_asked"]] == [1.0] * 5
    assert [r["rejects_next"] for r in by_label.values()] == [1.0] * 6 and by_label["gsm8k"]["next_rows"] == 1


def test_a_key_that_is_wrong_is_listed(tmp_path, capsys):
    rows = [json.loads(line) for line in (DATA / "math500.jsonl").read_text().splitlines()]
    rows[1]["answer"], rows[1]["solution"] = r"\frac{2}{4}", r"\boxed{7}"
    (tmp_path / "math500.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["--data-dir", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert r'math-500, test/geometry/9002.json: key "\\frac{2}{4}", states another answer "7"' in out


def test_a_folder_without_files(tmp_path, capsys):
    assert main(["--data-dir", str(tmp_path)]) == 2
    assert "holds none of gsm8k.jsonl" in capsys.readouterr().err
