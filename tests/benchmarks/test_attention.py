"""The benchmark of attention over the paged cache, on small shapes; it compares the results of both ways itself."""

from benchmarks import attention
from benchmarks.attention import Shape


def test_both_ways_give_the_same(monkeypatch, capsys):
    monkeypatch.setattr(attention, "SHAPES", {"a few": Shape(4, 2, 8, 5, 3, 70)})
    assert attention.main(["--rounds", "1"]) == 0
    shown = capsys.readouterr().out
    assert "| a few | " in shown and "| ratio |" in shown
