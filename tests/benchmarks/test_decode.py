"""benchmarks/decode.py on the bundled pair: the shape of its JSON, its exit status, its arithmetic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import decode
from benchmarks.decode_figures import Figures, Work
from benchmarks.decode_rounds import FreshPrompts
from relay_core import bundled
from relay_core.bundled import task as bundled_task
from relay_core.evaluate.task import task_from_spec

PAIR = ["--student", str(bundled.path("student-base")), "--teacher", str(bundled.path("teacher"))]


def test_the_json_has_its_shape(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--requests", "1", "3", "--answers", "3", "--rounds", "1", "--max-tokens", "60", "--every", "20"]
    assert decode.main([*PAIR, *arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result["requests"]) == {"1", "3"}
    for figures in result["requests"].values():
        assert figures["calls"] >= 3
        assert figures["teacher_tokens"] <= 3 * figures["calls"]
        assert figures["ratio_to_ideal"] > 0
        assert figures["tokens_per_s"] > 0
        assert isinstance(figures["handover_steps"], float)


def test_a_trigger_is_measured_against_never(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--requests", "2", "--answers", "2", "--rounds", "2", "--max-tokens", "20"]
    assert decode.main([*PAIR, *arguments, "--trigger", "uncertain:1e-9,8", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["requests"]["2"]
    assert (figures["calls"], len(figures["ratios_of_rounds"])) == (0, 2)
    assert figures["ratio"] > 0 and figures["never_tokens_per_s"] > 0
    assert decode.main([*PAIR, *arguments, "--trigger", "chance:0.5,2"]) == 0
    assert "with chance:0.5,2" in capsys.readouterr().out


def test_a_table_is_printed_on_a_task_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.dumps({"question": f"How many pens are {i} pens?", "answer": str(i)}) for i in range(3000)]
    (tmp_path / "pens.jsonl").write_text("\n".join(rows), encoding="utf-8")
    arguments = ["--requests", "2", "--answers", "2", "--rounds", "1", "--max-tokens", "8", "--every", "9"]
    assert decode.main([*PAIR, *arguments, "--task", str(tmp_path / "pens.jsonl")]) == 0
    assert "a call every 9 student tokens" in " ".join(capsys.readouterr().out.split())


def test_a_bad_spec_is_a_line_and_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert decode.main(["--student", "nowhere:at-all"]) == 2
    assert "unknown scheme" in capsys.readouterr().err


def test_prompts_are_those_of_the_demo_and_come_once() -> None:
    prompts = FreshPrompts(task_from_spec("bundled"), seed=4)
    taken = [*prompts.take(5), *prompts.take(297)]
    demo = [*bundled_task.demo_problems(300, seed=4), *bundled_task.demo_problems(300, seed=5)]
    assert taken == [problem.messages for problem in demo[:302]]


def test_the_ideal_is_both_models_alone() -> None:
    figures = Figures(
        at_once=2,
        student=Work(1000, 2.0),  # 500 tokens/s
        teacher=Work(100, 1.0),  # 100 tokens/s
        relay=Work(1020, 2.75),
        student_tokens=1000,
        teacher_tokens=20,
        calls=10,
        handovers=Work(16, 0.4),
        handover_count=8,
    ).as_dict()
    assert figures["ratio_to_ideal"] == 0.8  # (1000 / 500 + 20 / 100) / 2.75
    assert figures["handover_steps"] == 1.5  # 50 ms a call, 40 of them two teacher tokens; a student step is 4 ms


def test_rounds_add_up() -> None:
    total = Figures(at_once=1)
    for seconds in (2.0, 4.0):
        figures = Figures(1, Work(100, 1.0), Work(10, 1.0), Work(120, seconds), 100, 20, 4, Work(6, 0.5), 3)
        total.add_round(figures)
    assert (total.student, total.teacher, total.relay) == (Work(200, 2.0), Work(20, 2.0), Work(240, 6.0))
    assert (total.student_tokens, total.teacher_tokens, total.calls) == (200, 40, 8)
    assert (total.handovers, total.handover_count) == (Work(12, 1.0), 6)
    assert total.ratios == [1.5, 0.75] and total.ratio_to_ideal == 1.0
