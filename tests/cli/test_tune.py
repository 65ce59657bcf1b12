"""`relay tune` on scripted engines: what it prints, writes and refuses."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer
from typer.testing import CliRunner

from relay_core import RelaySettings
from relay_core.cli import app
from relay_core.evaluate.objections import Objections, Objector
from relay_core.evaluate.task import Problem
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
        (["--trigger", "chance"], 2, "'chance' is not"),
        (["--trigger", "commands", "--n", "3"], 1, "leave out --n and --gap"),
        (["--trigger", "commands", "--margin", "2"], 1, "leave out --margin"),
        (["--margin", "2"], 1, "the trigger uncertain has no head to fit: leave out --margin"),
        (["--trigger", "commands", "--gap", "3"], 1, "leave out --n and --gap"),
        (["--trigger", "commands"], 1, "scripted, ScriptedEngine) cannot change the probability of a token"),
        (["--trigger", "hidden"], 1, "write --out FOLDER"),
        (["--trigger", "hidden", "--out", "OUT", "--gap", "2"], 1, "leave out --gap"),
        (["--trigger", "hidden", "--out", "OUT", "--margin", "0"], 1, "--margin is 0: write"),
        (
            ["--trigger", "hidden", "--out", "OUT"],
            1,
            "scripted (ScriptedEngine) cannot: write a student in this process",
        ),
    ],
)
def test_what_it_refuses(prompts: str, args: list[str], code: int, message: str, tmp_path: Path) -> None:
    args = [str(tmp_path) if arg == "OUT" else arg for arg in args]
    result = tune("--prompts", prompts, *args, "--json")
    assert result.exit_code == code and message in json.loads(result.stdout)["error"]["message"]


BUNDLED = ["--prompts", "bundled", "--student", "bundled:student-base", "--sample", "24", "--max-tokens", "60"]


def test_a_head_that_is_no_better_ends_in_the_command_for_uncertain(tmp_path: Path) -> None:
    out = tmp_path / "it is"
    result = CliRunner().invoke(app, ["tune", "--trigger", "hidden", *BUNDLED, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "The head is no better than the student's bare probability" in result.stdout
    [line] = [line for line in result.stdout.splitlines() if line.startswith("use the trigger uncertain instead: ")]
    command = shlex.split(line.removeprefix("use the trigger uncertain instead: "))
    assert command[:4] == ["relay", "tune", "--trigger", "uncertain"] and str(out) in command
    assert json.loads((out / "tune.json").read_text())["instead"] == shlex.join(command)
    assert (out / "head" / "head.json").exists() and not (out / "tune.svg").exists()
    parsed = typer.main.get_command(app).commands["tune"].make_context("tune", command[2:]).params  # type: ignore[attr-defined]
    assert (parsed["prompts"], parsed["sample"], str(parsed["trigger"])) == ("bundled", 24, "uncertain")


def test_a_head_that_is_better_is_tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def against_digits(self: Objector, problem: Problem) -> Objections:
        o = await self._objections(problem)
        texts = [self._student.tokenizer.decode([i]) for i in o.ids]  # type: ignore[union-attr]
        return replace(o, nats=[9.0 if text.strip().isdigit() else 0.0 for text in texts])

    monkeypatch.setattr(Objector, "to", against_digits)
    out = tmp_path / "out"
    args = ["tune", "--trigger", "hidden", *BUNDLED, "--out", str(out), "--n", "2", "--target-ratio", "0.2", "--json"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert value["head"]["is_better"] and value["head"]["folder"] == str(out / "head")
    assert value["trigger"].startswith(f"hidden:{out / 'head'},0.") and value["trigger"].endswith(",2")
    assert value["methods"][value["trigger"]]["prompts"] == 6 and value["call_ratio"] > 0.1
    assert json.loads((out / "tune.json").read_text()) == value and (out / "tune.svg").exists()
    answers = (out / "answers.jsonl").read_text()
    monkeypatch.undo()  # a second run takes all from the folder
    monkeypatch.setattr(Objector, "to", against_digits)
    assert json.loads(CliRunner().invoke(app, args).stdout)["trigger"] == value["trigger"]
    assert (out / "answers.jsonl").read_text() == answers
