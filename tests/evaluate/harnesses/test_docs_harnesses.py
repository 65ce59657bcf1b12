"""The Python example of docs/harnesses.md runs; the other tests of this folder run its commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "harnesses.md"


def test_the_example_of_inspect_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    exec(compile(block, PAGE.name, "exec", dont_inherit=True), {"__name__": "example"})
    counts, cost = capsys.readouterr().out.strip().splitlines()[-2:]
    assert int(counts.split()[0]) > 20 and float(cost) > 0
