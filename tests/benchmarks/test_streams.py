"""benchmarks/streams.py, smaller: streams through one process to a real HTTP server, and its own arithmetic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import streams
from benchmarks.streams_figures import Sample, Streams
from testing.scripted_server import CALLS, answer, rest


def test_many_streams_are_all_right_and_leave_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = tmp_path / "plot.png"
    assert streams.main(["--at-once", "100", "--requests", "300", "--json", "--plot", str(plot)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["right"], result["wrong"], result["calls"]) == (300, [], 300 * len(CALLS))
    for name in ("descriptors", "tasks"):
        assert result[name]["after"] <= result[name]["before"] + 2
    assert max(sample["tasks"] for sample in result["samples"]) >= 100
    assert result["memory_mb"]["last"] < result["memory_mb"]["first"] + 60
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_another_text_is_wrong(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "answer", lambda item: answer(item) if item else "something else")
    assert streams.main(["--at-once", "2", "--requests", "4"]) == 1
    output = capsys.readouterr().out
    assert "3 of 4" in output and "something else" in output


def test_the_script_leads_from_any_view_to_the_answer() -> None:
    opening = "<|im_start|>user\nTell me of Item 7.<|im_end|>\n<|im_start|>assistant\n"
    written = ""
    for words, n in CALLS:
        turn = rest(opening + written, calls=True)
        assert turn.endswith(f"<call>{n}</call>")
        written += turn
        shown = written.replace("<call>4</call>", "").replace("<call>2</call>", "")
        assert shown == " ".join(answer(7).split(" ")[:words])
        assert shown + rest(opening + shown, calls=False) == answer(7)
    assert shown + rest(opening + written, calls=True) == answer(7)
    with pytest.raises(ValueError, match="is not how"):
        rest(f"{opening}Item 8: ", calls=True)


def test_growth_is_that_of_the_second_half() -> None:
    outcomes = Streams(right=0)
    for done in range(0, 10_001, 500):
        memory_mb = 100.0 + done / 10 if done < 5000 else 600.0 + (done - 5000) * 0.003
        outcomes.samples.append(Sample(done, memory_mb, 9, 9))
    assert outcomes.growth == pytest.approx(30 / 607.5, rel=1e-6)
    outcomes.samples = outcomes.samples[:1]
    assert outcomes.growth is None
