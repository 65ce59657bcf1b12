"""`relay eval` on scripted models: what it prints and writes, and ten kills."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from relay_core.cli import app
from relay_core.evaluate import records
from testing.evaluations import FixedBenchmark, models

METHODS = "student,relay teacher fixed:9 uncertain:0.5,9 random-router:0.5"
#: the command line with scripted engines, slow enough to be killed in the middle
SLOWLY = """
import sys
import relay_core.evaluate.evaluator as evaluator
from relay_core.cli import app
from testing.evaluations import FixedBenchmark, models
from testing.tasks import problem
fixed = tuple(problem(f"{kind} {i}", i, kind) for kind in ("easy", "hard") for i in range(100))
evaluator.benchmark_from_spec = lambda spec, data_dir: FixedBenchmark(fixed=fixed)
def slow(**options):
    made = models(delay_s=0.0005)
    made.settings = options["settings"]
    return made
evaluator.Models = slow
app(sys.argv[1:])
"""


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every benchmark is the fixed one, and every model a scripted one."""

    def made(**options):
        the_models = models()
        the_models.settings = options["settings"]
        return the_models

    monkeypatch.setattr("relay_core.evaluate.evaluator.Models", made)
    monkeypatch.setattr("relay_core.evaluate.evaluator.benchmark_from_spec", lambda spec, data_dir: FixedBenchmark())


def evaluate(*args: str):
    return CliRunner().invoke(app, ["eval", "--max-tokens", "60", *args], env={"COLUMNS": "80"})


@pytest.mark.usefixtures("scripted")
def test_json_is_one_object_and_the_folder_holds_everything(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = evaluate("--methods", METHODS, "--out", str(out), "--json")
    assert result.exit_code == 0 and result.stderr == "", result.output
    value = json.loads(result.stdout)
    (fixed,) = value["benchmarks"]
    assert list(fixed["methods"]) == ["student", "relay", "teacher", "fixed:9", "uncertain:0.5,9", "random-router:0.5"]
    assert fixed["methods"]["relay"]["accuracy"]["value"] == pytest.approx(8 / 9)
    assert fixed["relay_minus"]["student"]["accuracy"]["value"] == pytest.approx(4 / 9)
    assert {file.name for file in out.iterdir()} == {
        "answers.jsonl", "tuning.jsonl", "speeds.jsonl", "records.parquet", "run.json", "report.md", "report.html",
        "report.json", "pictures",
    } - ({"tuning.jsonl"} if not (out / "tuning.jsonl").exists() else set())  # fmt: skip
    assert len(records.read(out)) == 6 * 9
    run = json.loads((out / "run.json").read_text())
    assert run["methods"]["relay"]["models"] == ["scripted:trained", "scripted:teacher"]


@pytest.mark.usefixtures("scripted")
def test_a_person_reads_a_table_and_where_the_report_is(tmp_path: Path) -> None:
    result = evaluate("--methods", "student relay teacher", "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "Fixed: 9 problems" in result.stdout and "student alone" in result.stdout
    assert "recovers" in result.stdout and f"{tmp_path}/report.html" in result.stdout.replace("\n", "")


@pytest.mark.usefixtures("scripted")
def test_no_resume_refuses_a_folder_with_answers(tmp_path: Path) -> None:
    assert evaluate("--methods", "student", "--out", str(tmp_path)).exit_code == 0
    refused = evaluate("--methods", "student", "--out", str(tmp_path), "--no-resume")
    assert refused.exit_code == 1 and "choose another --out" in refused.stderr
    assert evaluate("--methods", "student", "--out", str(tmp_path), "--resume").exit_code == 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--methods", "relai"], "did you mean relay"), (["--methods", ""], "there is no method"),
        (["--benchmarks", ""], "there is no benchmark"), (["--out", "/proc/x"], "cannot be written"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("scripted")
def test_bad_input_says_what_to_write(args: list[str], said: str) -> None:
    result = evaluate(*args)
    assert result.exit_code == 1 and said in result.stderr.replace("\n", " "), result.output


def test_ctrl_c_says_that_the_answers_are_kept_and_the_next_run_says_so_too(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOWLY, "eval", "--methods", METHODS, "--out", str(tmp_path), "--max-tokens", "60"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    interruptible = ["import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + SLOWLY]
    journal = tmp_path / "answers.jsonl"
    with subprocess.Popen(
        [*command[:2], *interruptible, *command[3:]], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
    ) as run:
        while not journal.exists() or journal.read_bytes().count(b"\n") < 100:
            assert run.poll() is None, run.stderr and run.stderr.read()
            time.sleep(0.005)
        run.send_signal(signal.SIGINT)
        assert run.stderr is not None
        said = run.stderr.read().decode()
    kept = journal.read_bytes().count(b"\n")
    assert f"{kept:,} answers are kept: the same command goes on" in said and run.returncode == 130
    again = subprocess.run(command, check=True, capture_output=True, env=environment, text=True)
    assert f"{kept:,} answers of an earlier run are there" in again.stderr


def test_a_file_of_ones_own_needs_a_grader_and_all_its_rows_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay_core.evaluate.evaluator.Models", lambda **options: models())
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"q": f"easy {i}", "a": i}) + "\n" for i in range(4)))
    ungraded = evaluate("--benchmarks", str(file), "--methods", "student")
    assert ungraded.exit_code == 1 and "--grader number" in ungraded.stderr.replace("\n", " ")
    columns = ["--question", "q", "--answers", "a", "--grader", "number"]
    result = evaluate("--benchmarks", str(file), "--methods", "student", *columns, "--json")
    (mine,) = json.loads(result.stdout)["benchmarks"]
    assert (mine["title"], mine["problems"], mine["methods"]["student"]["accuracy"]["value"]) == ("mine", 4, 1.0)
    useless = evaluate("--benchmarks", "bundled", *columns)
    assert useless.exit_code == 1 and "are for a file or a hub id" in useless.stderr.replace("\n", " ")


def test_a_split_is_asked_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay_core.evaluate.evaluator.Models", lambda **options: models())
    chosen = ["--benchmarks", "word-problems", "--methods", "teacher", "--limit", "6"]
    for split in ("dev", "test"):
        result = evaluate(*chosen, *(["--split", "dev"] if split == "dev" else []), "--out", str(tmp_path / split))
        assert result.exit_code == 0, result.output
        assert {record.problem.split("/")[0] for record in records.read(tmp_path / split)} == {split}
        assert json.loads((tmp_path / split / "run.json").read_text())["split"] == split
        assert ("the split dev" in (tmp_path / split / "report.md").read_text()) is (split == "dev")
    unknown = evaluate(*chosen, "--split", "def")
    assert unknown.exit_code == 1 and "did you mean dev" in unknown.stderr.replace("\n", " ")


@pytest.mark.timeout(300)
def test_ten_kills_and_the_records_are_those_of_an_undisturbed_run(tmp_path: Path) -> None:
    def command(out: Path) -> list[str]:
        flags = ["eval", "--methods", METHODS, "--out", str(out), "--resume", "--max-tokens", "60"]
        return [sys.executable, "-c", SLOWLY, *flags]

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(whole), check=True, capture_output=True, env=environment)
    rng, journal, kills = random.Random(0), killed / "answers.jsonl", 0
    total = len((whole / "answers.jsonl").read_text().splitlines())
    for until in sorted(rng.randrange(1, total) for _ in range(10)):
        with subprocess.Popen(
            command(killed), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
        ) as run:
            while not journal.exists() or journal.read_bytes().count(b"\n") < until:
                assert run.poll() is None, run.stderr and run.stderr.read()
                time.sleep(0.005)
            run.send_signal(signal.SIGKILL)
            kills += 1
    subprocess.run(command(killed), check=True, capture_output=True, env=environment)
    assert kills == 10
    keys = [json.loads(line)["key"] for line in journal.read_text().splitlines()]
    assert len(keys) == len(set(keys)) == total

    def rows(folder: Path) -> list[dict]:
        return [{**r.as_row(), "seconds": 0, "calls": len(r.outcome.calls)} for r in records.read(folder)]

    assert rows(killed) == rows(whole)
