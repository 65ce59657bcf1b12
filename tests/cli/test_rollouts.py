"""`relay rollouts` on a run of two rollouts: what it prints, and how it refuses."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from relay_core.cli import app
from testing.rollout_rows import HELPED, answer, run_folder

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
PLAIN = {"NO_COLOR": None, "FORCE_COLOR": None, "COLUMNS": "200", "TERM": "xterm-256color"}


@pytest.fixture
def run(tmp_path: Path) -> str:
    return str(run_folder(tmp_path))


def rollouts(*args: str, **env: str):
    return CliRunner().invoke(app, ["rollouts", *args], env={**PLAIN, **env})


def test_a_pipe_gets_a_line_an_answer_with_the_authors_in_marks(run: str) -> None:
    result = rollouts(run, "--step", "0")
    assert result.exit_code == 0 and result.stderr == "", result.output
    head, matching, heading, *lines = result.stdout.splitlines()
    assert head == (
        "rollouts 1, answers 4, accuracy 0.500; groups: 1 student-solvable, 1 teacher-dependent, 0 teacher-unsolvable"
    )
    assert matching == "4 answers match, 4 shown"
    assert heading.split()[:8] == ["step", "problem", "k", "answer", "reward", "scenario", "calls", "ratio"]
    assert lines[2].split()[:8] == ["0", "multiply", "0", "right", "0.90", "teacher-dependent", "1", "9.1%"]
    assert lines[2].endswith("  6 * 47 = <call>3</call>[282].↵Done.")
    assert " cut " in lines[3] and " wrong " in lines[1]


def test_a_terminal_gets_a_table_with_the_authors_in_colour(run: str) -> None:
    result = rollouts(run, "--called", "--kept", FORCE_COLOR="1")
    assert result.exit_code == 0, result.output
    assert re.search(r"\x1b\[2m<call>3</call>\x1b\[0m\x1b\[1;4;38;5;208m282\x1b\[0m", result.stdout), result.stdout
    assert "teacher\x1b[0m" in result.stdout and "[282]" not in result.stdout
    without = rollouts(run, "--called", FORCE_COLOR="1", NO_COLOR="1").stdout
    assert "\x1b[1;4m282" in without and "38;5" not in without


def test_a_dropped_answer_and_its_failed_call_are_shown_as_such(run: str) -> None:
    (line,) = rollouts(run, "--dropped").stdout.splitlines()[3:]
    assert re.search(r"add +1 +dropped +- +- +1 +1 +9.1%", line)


def test_flags_select_answers(run: str) -> None:
    result = rollouts(run, "--scenario", "teacher-unsolvable", "--scenario", "teacher-dependent", "--best", "--json")
    rows = json.loads(result.stdout)["rows"]
    assert [(row["step"], row["problem"], row["k"]) for row in rows] == [(2, "divide", 1), (0, "multiply", 0)]
    wrong = json.loads(rollouts(run, "--wrong", "--not-called", "--problem", "div", "--json").stdout)["rows"]
    assert [(row["problem"], row["k"]) for row in wrong] == [("divide", 0)]
    assert "no answer matches" in rollouts(run, "--problem", "nothing").stdout


def test_json_is_one_object(run: str) -> None:
    result = rollouts(run, "--json", "--limit", "1")
    value = json.loads(result.stdout)
    assert {name: value[name] for name in ("rollouts", "answers", "dropped", "matching", "skipped")} == {
        "rollouts": 2, "answers": 8, "dropped": 1, "matching": 8, "skipped": [],
    }  # fmt: skip
    assert value["groups"] == {"student-solvable": 2, "teacher-dependent": 1, "teacher-unsolvable": 1}
    (row,) = value["rows"]
    assert row["segments"] == [{"author": "student", "text": "6 + 7 = 13."}] and "completion_ids" not in row


def test_chars_cuts_texts_and_0_shows_all(tmp_path: Path) -> None:
    from relay_core.train.records import RolloutFile

    long = [*HELPED, ("student", "x" * 900)]
    RolloutFile(tmp_path).write(0, [answer("a" * 30, 0, long), answer("b", 0, [("student", "y" * 300)])])
    lines = rollouts(str(tmp_path)).stdout.splitlines()
    assert lines[3].endswith("x…") and lines[4].endswith("y" * 300) and "aaa…" in lines[3]
    assert rollouts(str(tmp_path), "--chars", "12").stdout.splitlines()[3].endswith("  6 * 47 = <ca…")
    assert rollouts(str(tmp_path), "--chars", "0").stdout.splitlines()[3].endswith("x" * 900)


def test_a_text_cannot_move_the_cursor_or_style_itself(tmp_path: Path) -> None:
    from relay_core.train.records import RolloutFile

    RolloutFile(tmp_path).write(0, [answer("[red]id\x1b[2J", 0, [("student", "[bold]no[/bold] \x1b[31mred")])])
    for env in ({}, {"FORCE_COLOR": "1", "NO_COLOR": "1"}):
        shown = rollouts(str(tmp_path), **env).stdout
        assert "[bold]no[/bold]" in shown and "[red]id" in shown
        assert "\x1b[31m" not in shown and "\x1b[2J" not in shown


def test_a_file_that_cannot_be_read_is_said_on_stderr(run: str) -> None:
    (Path(run) / "grpo" / "rollouts" / "step-00004.parquet").write_bytes(b"PAR1 half")
    result = rollouts(run)
    assert result.exit_code == 0 and "step-00004.parquet cannot be read and is passed over" in result.stderr
    assert result.stdout.startswith("rollouts 2, ")


def test_a_folder_without_rollouts_is_refused(tmp_path: Path) -> None:
    result = rollouts(str(tmp_path))
    assert result.exit_code == 1 and "write the folder of a run" in " ".join(result.stderr.split())
    value = json.loads(rollouts(str(tmp_path), "--json").stdout)
    assert value["error"]["type"] == "ConfigurationError"


def test_the_command_needs_no_torch(run: str) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from relay_core.cli import app\n"
        f"try: app(['rollouts', {run!r}])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_lines_on_the_page_run(run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").symlink_to(run)
    lines = [line.strip() for line in PAGE.read_text().splitlines() if line.strip().startswith("relay rollouts runs")]
    assert len(lines) >= 3
    for line in lines:
        result = CliRunner().invoke(app, shlex.split(line, comments=True)[1:], env=PLAIN)
        assert result.exit_code == 0, (line, result.output)
