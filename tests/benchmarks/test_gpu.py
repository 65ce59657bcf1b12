"""benchmarks/gpu: the rehearsal on the CPU, and how the runner treats steps that fail or hang."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import run, transcripts
from benchmarks.gpu.results import ROOT

CPU_STEPS = [step.name for step in run.STEPS if not step.needs_cuda]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_rehearsal_runs_all_steps(tmp_path: Path) -> None:
    assert run.main(["--device", "cpu", "--tiny", "--out", str(tmp_path)]) == 0, (tmp_path / "log.txt").read_text()
    report = json.loads((tmp_path / "results.json").read_text())
    assert report["machine"]["torch"]
    steps = report["steps"]
    assert list(steps) == [step.name for step in run.STEPS]
    assert {name: step["status"] for name, step in steps.items() if name in CPU_STEPS} == dict.fromkeys(CPU_STEPS, "ok")
    assert set(steps["demo"]["results"]) == {"float32", "bfloat16"}
    assert steps["transcripts"]["results"]["float32"]["equal_share"] == 1
    outcomes = [test["outcome"] for test in steps["tests"]["results"].values()]
    assert outcomes.count("passed") >= 12
    assert set(outcomes) == {"passed", "skipped"}
    for figures in steps["pairs-0.6B-plain"]["results"].values():
        assert figures["calls"] > 0
        assert figures["ratio_to_ideal"] > 0
        assert figures["first_token_s"] > 0
    for table in steps["trace"]["results"].values():
        assert 0 < table["model_ms"] < table["synchronised_step_ms"]
        assert table["kernels"] > 0


def step_in(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str, limit_s: float) -> dict[str, Any]:
    """The report of a step that runs ``code``."""
    (folder / "odd_step.py").write_text(
        f"from benchmarks.gpu.results import *\n"
        f"options = step_parser('').parse_args()\nDeadline(options.limit)\n"
        f"results = Results(options.out)\nresults.add('begun', True)\n{code}\n"
    )
    script = f"import sys, runpy; sys.path.insert(0, {str(ROOT)!r}); runpy.run_path({str(folder / 'odd_step.py')!r})"
    real = run.subprocess.Popen

    def popen(command: list[str], **options: Any) -> Any:
        return real([sys.executable, "-c", script, *command[3:]], **options)

    monkeypatch.setattr(run.subprocess, "Popen", popen)
    monkeypatch.setattr(run, "STEPS", (run.Step("odd", "odd_step", limit_s),))
    assert run.main(["--device", "cpu", "--out", str(folder)]) == 1
    report: dict[str, Any] = json.loads((folder / "results.json").read_text())["steps"]["odd"]
    return report


def test_a_failing_steps_traceback_is_its_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = step_in(tmp_path, monkeypatch, "raise ValueError('no such card')", 60)
    assert (step["status"], step["results"]) == ("failed", {"begun": True})
    assert "ValueError: no such card" in step["error"]


def test_a_hanging_step_is_stopped_and_its_stacks_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = step_in(tmp_path, monkeypatch, "import time\ndef wait_for_ever():\n    time.sleep(600)\nwait_for_ever()", 6)
    assert (step["status"], step["results"]) == ("timed out", {"begun": True})
    assert "wait_for_ever" in step["error"]


def test_the_first_difference_of_two_transcripts() -> None:
    cpu = [("s", [1, 2, 3]), ("t", [4])]
    assert transcripts.first_difference(cpu, [("s", [1, 2]), ("s", [3]), ("t", [4])]) is None
    assert transcripts.first_difference(cpu, [("s", [1, 2, 3]), ("s", [4])]) == {
        "index": 3,
        "cpu": ("t", 4),
        "device": ("s", 4),
    }
    assert transcripts.first_difference(cpu, [("s", [1, 2])]) == {"index": 2, "cpu": ("s", 3), "device": None}
    compared = transcripts.compare({"a": cpu, "b": cpu}, {"a": cpu, "b": [("s", [1, 2])]})
    assert (compared["equal_share"], list(compared["first_differences"])) == (0.5, ["b"])
