"""Every example in README and docs runs: Python blocks, with one namespace per page, and `relay` lines of bash blocks.

docs/langchain.md and docs/llamaindex.md need models that follow instructions; tests/langchain and tests/llamaindex
run them. docs/harnesses.md needs the harnesses; tests/evaluate/harnesses runs it. Blocks of other kinds hold commands
that need a server or a download.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from relay_core.cli import app

ROOT = Path(__file__).parents[1]
ELSEWHERE = {"langchain.md", "llamaindex.md", "harnesses.md"}
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").glob("*.md") if p.name not in ELSEWHERE)]


def blocks(page: Path, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=name)
def test_python_on_the_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    names: dict[str, Any] = {"__name__": "example"}
    for i, block in enumerate(blocks(page, "python"), 1):
        exec(compile(block, f"{page.name}, block {i}", "exec", dont_inherit=True), names)


def lines() -> list[str]:
    all_lines = [line for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()]
    return [line for line in all_lines if line.startswith("relay ")]


@pytest.mark.parametrize("line", lines())
def test_a_relay_line_runs(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # some write a folder
    result = CliRunner().invoke(app, shlex.split(line)[1:])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip()


@pytest.mark.parametrize("page", [*PAGES, *(ROOT / "docs" / n for n in sorted(ELSEWHERE))], ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [t for t in targets if "://" not in t and not (page.parent / t).exists()] == []


def test_a_recipe_on_the_page_of_training_is_one() -> None:
    import yaml

    from relay_core.train.recipe import build

    page = ROOT / "docs" / "training.md"
    assert [build(yaml.safe_load(block)).task["grader"] for block in blocks(page, "yaml")] == ["number"]


def test_every_fault_of_the_published_code_names_a_test_that_exists() -> None:
    page = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \|.*\|(.*)\|$", page, re.MULTILINE))
    assert [int(number) for number in rows] == list(range(1, 13))
    for number, cell in rows.items():
        tests = re.findall(r"\[`(tests/\S+)`\]\(\.\./\1\) `(test_\w+)`", cell)
        assert tests, f"fault {number} names no test"
        for path, function in tests:
            assert f"def {function}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path} has no {function}"
