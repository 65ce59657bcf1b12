import json

from benchmarks.ablations import main


def test_the_table_has_the_runs_that_are_there(tmp_path, capsys):
    for name, student, requested in (("as-it-is", "relay", 7.5), ("no-teacher", "student-grpo", None)):
        (tmp_path / name).mkdir()
        figures = {
            "accuracy": 0.875, "bands": {"easy": 1.0, "medium": 0.9, "hard": 0.0}, "call_ratio": 0.031, "calls": 0.5,
            "requested": requested, "called": {"easy": 0.01, "medium": 1.0, "hard": 0.2},
        }  # fmt: skip
        methods = {student: figures, "student-relay": {**figures, "accuracy": 0.4}}
        methods = methods if student == "relay" else {student: figures}
        (tmp_path / name / "measured.json").write_text(json.dumps({"methods": methods}))
        (tmp_path / name / "recipe.yaml").write_text("grpo: {rollouts: 32}\n")
    assert main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == [
        "| none | 32 | 0.875 | 0.900 | 3.1% | 7.5 | 1%, 20% | 0.400 | 49.52 at 1.07% |",
        "| `--no-teacher` | 32 | 0.875 | 0.900 | 3.1% | - | 1%, 20% | 0.875 | 44.06 |",
    ]
    assert main([str(tmp_path), "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["as-it-is", "no-teacher"]
