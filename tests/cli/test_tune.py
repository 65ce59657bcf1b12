"""`relay tune` on scripted engines: what it prints, writes and refuses."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from relay_core import RelaySettings
from relay_core.cli import app
from testing.doubtful import doubtful_student, sure_teacher


@pytest.fixture
def prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of prompts; every engine spec means a scripted engine."""
    engines = {"student": doubtful_student(), "teacher": sure_teacher()}
    monkeypatch.setattr("relay_core.engines.spec.engine_from_spec", lambda spec, *, role, **_: engines[role])
    file = tmp_path / "prompts.txt"
    file.write_text("".join(f"question {i}\n" for i in range(20)))
    return str(file)


def tune(*args: str):
    return CliRunner().invoke(app, ["tune", "--trigger", "uncertain", *args], env={"COLUMNS": "80"})


def test_json_is_one_object_and_the_folder_holds_the_report(prompts: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = tune("--prompts", prompts, "--target-ratio", "0.15", "--n", "3", "--json", "--out", str(out))
    assert result.exit_code == 0 and result.stderr == "", result.output
    value = json.loads(result.stdout)
    assert value["target_ratio"] == 0.15 and value["score"]["name"] == "agreement" and value["unusable"] == 0
    assert RelaySettings(trigger=value["trigger"]).trigger.n == 3  # type: ignore[attr-defined]
    assert json.loads((out / "tune.json").read_text()) == value
    assert value["trigger"] in "".join(ElementTree.parse(out / "tune.svg").getroot().itertext())
    assert len((out / "answers.jsonl").read_text().splitlines()) >= 20 + 20 + 10 + 10


def test_a_person_reads_a_table_a_sentence_and_what_to_write(prompts: str) -> None:
    result = tune("--prompts", prompts, "--target-ratio", "0.15", "--n", "3")
    assert result.exit_code == 0, result.output
    for part in ("10 held-out prompts", "student alone", "teacher alone", "of the target of 15.0%", "example prices"):
        assert part in result.stdout
    assert "use it: relay ask --trigger uncertain:" in result.stdout and "--max-calls 1024" in result.stdout
    assert "student alone 20/20" in result.stderr


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--target-ratio", "1.5"], 1, "write a share above 0 and under 1"),
        (["--n", "0"], 1, "n is 0"),
        (["--grader", "nope"], 1, "no grader is called"),
        (["--answers", "answer"], 1, "no answer in the column 'answer'"),
        (["--no-calls"], 1, "--no-calls leaves no relay"),
        (["--instructions", "facts"], 1, "leave out --instructions"),
        (["--trigger", "hidden"], 2, "'hidden' is not"),
    ],
)
def test_what_it_refuses(prompts: str, args: list[str], code: int, message: str) -> None:
    result = tune("--prompts", prompts, *args, "--json")
    assert result.exit_code == code and message in json.loads(result.stdout)["error"]["message"]
