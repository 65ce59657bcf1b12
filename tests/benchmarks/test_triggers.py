"""The benchmark of triggers: its rows, the rival that it compares with, and that a run goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import triggers
from relay_core import ScriptedEngine
from relay_core.decoding.triggers import Uncertain
from relay_core.evaluate.answers import KeptAnswer
from relay_core.evaluate.figures import Scored
from relay_core.usage import Usage


@pytest.mark.parametrize(("n", "ratio"), [(4, 0.01), (8, 0.3), (1, 0.5), (16, 0.9)])
def test_a_chance_calls_for_the_same_share(n: int, ratio: float) -> None:
    chance = triggers.chance_of(Uncertain(0.3, n), ratio)
    assert chance is not None and chance.n == n
    assert n * chance.p / ((1 - chance.p) + n * chance.p) == pytest.approx(ratio, rel=1e-2)
    assert triggers.chance_of(Uncertain(0.3, n), 0.0) is None


def scored(score: float, student: int, teacher: int) -> Scored:
    return Scored(KeptAnswer("", Usage(student_tokens=student, teacher_tokens=teacher), 1.0, "stop"), score, 0)


def test_the_advantage_is_over_a_router_with_as_many_tokens() -> None:
    student, teacher = [scored(0, 10, 0)] * 4, [scored(1, 0, 10)] * 4
    half = [scored(1, 5, 5), scored(1, 5, 5), scored(1, 5, 5), scored(0, 5, 5)]
    difference, (low, high) = triggers.advantage(student, teacher, half)
    assert difference == pytest.approx(0.75 - 0.5) and low < difference <= high


def test_a_run_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"question": f"{i}?", "answer": "7"}) + "\n" for i in range(6)))
    examples = tmp_path / "examples.json"
    examples.write_text(json.dumps([{"role": "user", "content": "3?"}, {"role": "assistant", "content": "4"}]))
    engines: dict[str, ScriptedEngine] = {}

    def from_spec(spec: str, *, role: str) -> ScriptedEngine:
        script = ["It ", "is ", "8."] if role == "student" else ["It ", "is ", "7."]
        engines[role] = ScriptedEngine([script] * 9, "bundled", record=True)
        engines[role].spec = spec
        return engines[role]

    monkeypatch.setattr(triggers, "engine_from_spec", from_spec)
    picture = tmp_path / "picture.svg"
    command = ["--student", "s", "--teacher", "t", "--prompts", str(prompts), "--examples", str(examples)]
    command += ["--trigger", "chance:1,9", "--trigger", "never", "--out", str(tmp_path / "out")]
    assert triggers.main([*command, "--json", "--plot", str(picture)]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert result["n"] == 6 and [result["alone"][name]["score"] for name in ("student", "teacher")] == [0, 1]
    assert [result["triggers"][name]["score"] for name in ("chance:1,9", "never")] == [1, 0]
    assert result["triggers"]["never"]["advantage"] == 0 and "chance:1,9" in picture.read_text()
    assert "4" in engines["student"].requests[0][0].text
    assert triggers.main(command) == 0
    assert "teacher alone" in capsys.readouterr().out
    assert not engines["student"].requests and not engines["teacher"].requests
