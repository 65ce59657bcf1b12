"""`relay audit` on scripted engines: what it prints, its limit, and a kill in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from relay_core.cli import app
from relay_core.evaluate.store import Journal
from testing.doubtful import doubtful_student, sure_teacher

PROMPTS = 50
TRIGGER = ["--trigger", "uncertain:0.3,3"]
#: the command line with scripted engines, the teacher slow enough to be killed in the middle
SLOWLY = """
import sys
import relay_core.engines.spec as spec
from relay_core.cli import app
from testing.doubtful import doubtful_student, sure_teacher
engines = {"student": doubtful_student(), "teacher": sure_teacher(delay_s=0.001)}
spec.engine_from_spec = lambda name, *, role, **_: engines[role]
app(sys.argv[1:])
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A chat log in OpenAI's form; every engine spec means a scripted engine."""
    engines = {"student": doubtful_student(), "teacher": sure_teacher()}
    monkeypatch.setattr("relay_core.engines.spec.engine_from_spec", lambda spec, *, role, **_: engines[role])
    file = tmp_path / "log.jsonl"
    answer = {"role": "assistant", "content": "as it was answered then"}
    rows = [{"messages": [{"role": "user", "content": f"question {i}"}, answer]} for i in range(PROMPTS)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def audit(*args: str):
    trigger = [] if "--trigger" in args else TRIGGER
    return CliRunner().invoke(app, ["audit", *args, *trigger], env={"COLUMNS": "80"})


def test_json_is_one_object(log: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = audit(log, "--json", "--sample", "20", "--trigger", "uncertain:0.9,1", "--out", str(out))
    assert result.exit_code == 0 and result.stderr == "", result.output
    value = json.loads(result.stdout)
    assert (value["prompts"], value["drawn"], value["unusable"], value["too_long"]) == (20, 20, 0, 0)
    assert list(value["methods"]) == ["student", "relay", "teacher"]
    assert value["methods"]["relay"]["calls"] > 16  # max_calls has no limit here
    assert value["spent"] > 0 and not value["limit_reached"] and json.loads((out / "audit.json").read_text()) == value


def test_a_person_reads_a_table_and_the_verdict(log: str) -> None:
    result = audit(log, "--sample", "20")
    assert result.exit_code == 0 and "20 prompts, in per cent" in result.stdout, result.output
    assert "relay pays" in result.stdout or "relay does not pay" in result.stdout
    assert "prompts 20/20" in result.stderr


def test_the_limit_needs_prices_and_is_kept(log: str) -> None:
    without = audit(log, "--limit-cost", "1", "--json")
    assert without.exit_code == 1 and "--limit-cost needs your prices" in without.stdout
    price = ["--price", "teacher_output=100"]
    spent = json.loads(audit(log, "--json", *price).stdout)["spent"]
    limited = audit(log, *price, "--limit-cost", f"{spent / 2}")
    assert f"of {PROMPTS} prompts" in limited.stdout and "--limit-cost was reached" in limited.stdout
    value = json.loads(audit(log, "--json", *price, "--limit-cost", f"{spent / 2}").stdout)
    assert value["limit_reached"] and value["spent"] <= spent / 2 and 0 < value["prompts"] < PROMPTS
    nothing = audit(log, "--json", *price, "--limit-cost", "0")
    assert nothing.exit_code == 1 and "allows no prompt" in nothing.stdout


def test_a_killed_run_goes_on(log: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    args = ["audit", log, *TRIGGER, "--json", "--out", str(out), "--concurrency", "2"]
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    killed = subprocess.Popen([sys.executable, "-c", SLOWLY, *args], env=env, stdout=subprocess.PIPE)
    answers = out / "answers.jsonl"
    deadline = time.monotonic() + 100
    while not answers.exists() or answers.read_bytes().count(b"\n") < 12:
        assert killed.poll() is None and time.monotonic() < deadline, "it ended before it could be killed"
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    assert killed.communicate()[0] == b"" and killed.returncode == -signal.SIGKILL
    kept = Journal(answers).rows
    assert 12 <= len(kept) < 3 * PROMPTS
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    rows = Journal(answers).rows
    assert rows[: len(kept)] == kept and len(rows) == len({row["key"] for row in rows}) == 3 * PROMPTS
    assert value["prompts"] == PROMPTS and "pay" in value["verdict"]
