"""The whole training on the bundled pair, small: it goes on where it stopped, and the head calls where it should."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from relay_core import Relay, engine_from_spec
from relay_core.decoding.hidden import Hidden
from relay_core.engines.transformers.head import load_head
from relay_core.evaluate.citer import __main__ as command
from relay_core.evaluate.citer import mlp
from relay_core.evaluate.citer.references import References
from relay_core.evaluate.citer.rollouts import Rollouts
from relay_core.evaluate.task import task_from_spec


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlp, "UNITS", (24,))
    monkeypatch.setattr(mlp, "WEIGHT_DECAYS", (1e-2,))


def run(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, Any]:
    code = command.main(["train", "--problems", "30", "--out", str(folder), "--json", *more])
    out, err = capsys.readouterr()
    return code, json.loads(out) if code == 0 else err


def test_a_head_is_trained_in_two_rounds_and_calls_for_the_products(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, card = run(tmp_path, capsys)
    assert code == 0
    head = load_head(tmp_path)
    assert head.layer is not None and head.layer.weight.shape == (24, 68)
    assert {**card, "folder": None} == {**json.loads((tmp_path / "head.json").read_text()), "folder": None}
    assert (card["round"], card["problems"], card["left_out"], card["units"]) == (2, 30, 0, 24)
    assert card["aucs"]["head"] > 0.95 and 0 < card["teacher_preferred"] < 0.1 * card["tokens"]
    rows = [json.loads(line) for line in (tmp_path / "rollouts.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * card["rollouts"] > 0, "once a round"
    assert "AUC on held-out problems" in command.text_of(card, tmp_path)

    student, teacher = engine_from_spec(card["student"]["spec"]), engine_from_spec(card["teacher"])
    p = next(p for p in task_from_spec("bundled").problems("dev", 40) if p.group == "medium")
    with Relay(student, teacher) as relay:
        result = relay.generate(p.messages, trigger=Hidden(str(tmp_path), 0.3), max_calls=None, max_tokens=300)
    assert 0 < result.usage.teacher_tokens < 20
    for engine in (student, teacher):
        asyncio.run(engine.aclose())

    # what a killed run left is used: nothing is sampled or rolled out again, and the lost head is the same
    weights = (tmp_path / "head.safetensors").read_bytes()
    for lost in (tmp_path / "head.json", tmp_path / "round-2" / "head.json"):
        lost.unlink()
    monkeypatch.setattr(References, "_found", None)
    monkeypatch.setattr(Rollouts, "_is_right", None)
    assert run(tmp_path, capsys)[1] == card
    assert (tmp_path / "head.safetensors").read_bytes() == weights
    monkeypatch.setattr(mlp, "fit", None)
    assert run(tmp_path, capsys)[1] == card, "all is there"


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, err = run(tmp_path, capsys, "--problems", "5")
    assert code == 2 and err.startswith("error: bundled gives too few references") and err.count("\n") == 1
    (tmp_path / "file").write_text("")
    code, err = run(tmp_path / "file", capsys)
    assert code == 2 and "cannot be written" in err
    with pytest.raises(SystemExit):
        command.main(["train", "--problems", "0", "--out", str(tmp_path)])
