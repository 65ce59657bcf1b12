"""benchmarks/decode.py runs, and says what it promises, on the bundled pair."""

from __future__ import annotations

import json

import pytest

from benchmarks import decode
from relay_core import bundled


def test_the_json_has_its_shape(capsys: pytest.CaptureFixture[str]) -> None:
    pair = ["--student", str(bundled.path("student-base")), "--teacher", str(bundled.path("teacher"))]
    arguments = ["--requests", "1", "3", "--answers", "3", "--rounds", "1", "--max-tokens", "60", "--every", "20"]
    assert decode.main([*pair, *arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result["requests"]) == {"1", "3"}
    for figures in result["requests"].values():
        assert figures["calls"] >= 3
        assert figures["teacher_tokens"] <= 3 * figures["calls"]
        assert 0 < figures["ratio_to_ideal"] < 2
        assert figures["tokens_per_s"] > 0
        assert isinstance(figures["handover_steps"], float)


def test_a_bad_spec_is_a_line_and_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert decode.main(["--student", "nowhere:at-all"]) == 2
    assert "unknown scheme" in capsys.readouterr().err


def test_the_ideal_is_both_models_alone() -> None:
    figures = decode.Figures(
        at_once=2,
        student=decode.Part(1000, 2.0),  # 500 tokens/s
        teacher=decode.Part(100, 1.0),  # 100 tokens/s
        relay=decode.Part(1020, 2.75),
        student_tokens=1000,
        teacher_tokens=20,
        calls=10,
        handed_over=decode.Part(16, 0.4),
        returned=8,
    ).as_dict()
    assert figures["ratio_to_ideal"] == 0.8  # (1000 / 500 + 20 / 100) / 2.75
    assert figures["handover_steps"] == 1.5  # 50 ms a call, 40 of them two teacher tokens; a student step is 4 ms
