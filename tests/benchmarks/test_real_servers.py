"""benchmarks/serving.py and streams.py on real vLLM servers, as small as can be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks import serving, streams
from benchmarks.serving_figures import MethodRun


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_bundled_pair_is_served_and_measured(
    student_url: str,
    teacher_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    delayed_runs: list[MethodRun] = []

    def figures_of(runs: Mapping[str, MethodRun], name: str, real: Any = serving.figures) -> Any:
        delayed_runs.extend([runs[name]] if name == "relay +50 ms" else [])
        return real(runs, name)

    monkeypatch.setattr(serving, "figures", figures_of)
    arguments = ["--pair", "bundled", "--requests", "1,4", "--rounds", "1", "--answers", "4", "--delay-ms", "0,50"]
    arguments += ["--urls", student_url, teacher_url]
    methods = ["student", "teacher", "relay", "lockstep", "warming"]
    plot = tmp_path / "plot.png"
    assert serving.main([*arguments, "--methods", ",".join(methods), "--json", "--plot", str(plot)]) == 0
    result = json.loads(capsys.readouterr().out)
    for at_once in ("1", "4"):
        figures = result["pairs"]["bundled"][at_once]
        delayed = {f"{method} +50 ms" for method in methods[2:]}
        assert set(figures) == {*methods, *delayed}
        assert all(f["tokens_per_s"] > 0 and f["answers"] == 4 for f in figures.values())
        for name in (*methods[2:3], *methods[4:]):
            assert figures[name]["same_answers_as_lockstep"] >= 0.75
            assert figures[name]["calls"] > 0 and figures[name]["ratio_to_ideal"] > 0
            assert figures[f"{name} +50 ms"]["calls"] > 0
    # Only without warming: a warmed teacher is asked before the command ends. The figure itself is not compared, since
    # it is less the time of the teacher's tokens, which was measured elsewhere.
    waits = [handover.seconds for run in delayed_runs for answer in run.answers for handover in answer.handovers]
    assert len(delayed_runs) == 2 and min(waits) > 0.05
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_streams_through_real_servers_are_right(
    student_url: str, teacher_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--server", "vllm", "--urls", student_url, teacher_url, "--at-once", "40", "--requests", "120"]
    assert streams.main([*arguments, "--json"]) in (0, 1)
    result = json.loads(capsys.readouterr().out)
    assert result["right"] >= 0.95 * 120  # in a batch, rounding may decide a close word otherwise
    assert result["calls"] > 0 and not any("failed" in reason for reason in result["wrong"])
