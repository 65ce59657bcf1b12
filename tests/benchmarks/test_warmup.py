"""The comparison of warm-up's sources, in miniature."""

import json

from benchmarks.warmup import main


def test_a_source_is_trained_and_measured(tmp_path, capsys):
    small = ["--warmup.problems", "10", "--warmup.blocked_problems", "2", "--relay.max_calls", "3"]
    assert main(["--sources", "pruned", "--problems", "3", "--out", str(tmp_path), *small, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["pruned"]
    assert figures["rows"]["answers"] == 10 and figures["rows"]["calls"] > 0
    assert figures["blocked"]["problems"] == 2 and 0 <= figures["accuracy"] <= 1
    recipe = (tmp_path / "pruned" / "recipe.yaml").read_text()
    assert "max_calls: 3" in recipe and "prune: true" in recipe
    assert main(["--sources", "pruned", "--problems", "3", "--out", str(tmp_path), *small]) == 0
    assert "calls blocked" in capsys.readouterr().out
