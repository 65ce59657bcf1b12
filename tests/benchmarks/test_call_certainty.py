"""How sure a student was of its calls, against a plain forward pass."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path

import pytest
import torch

from benchmarks import call_certainty
from relay_core import bundled
from relay_core.evaluate.benchmarks.word_problems import WordProblems
from relay_core.evaluate.outcome import Outcome, Part
from relay_core.usage import Usage

FOUND = WordProblems().problems("test", 6)
CALLING = [Part("student", "It is ", 3), Part("command", "<call>3</call>", 5), Part("teacher", "12.", 3),
           Part("student", " So ", 2), Part("command", "<call>2</call>", 5), Part("teacher", "12", 2)]  # fmt: skip


def write(path: Path) -> Path:
    """Answers to six problems, of which every second one has calls."""
    rows = []
    for i, problem in enumerate(FOUND):
        parts = CALLING if i % 2 else [Part("student", "It is 12.", 5)]
        outcome = Outcome(
            text="It is 12.", usage=Usage(student_tokens=5), finish_reason="stop", seconds=1.0, parts=parts
        )
        rows.append({"benchmark": "word-problems", "method": "relay", "problem": problem.id, "seed": 0,
                     "outcome": outcome.as_row()})  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def odds_of_the_first_command(problem: int) -> float:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = str(bundled.path("student-relay"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    messages = [dict(message) for message in FOUND[problem].messages]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, enable_thinking=False)
    ids = tokenizer(text + "It is ", add_special_tokens=False).input_ids
    command = tokenizer("<call>3</call>", add_special_tokens=False).input_ids[0]
    with torch.no_grad():
        p = model(torch.tensor([ids])).logits[0, -1].double().softmax(-1)[command].item()
    return math.log(p / (1 - p))


def test_the_first_command_of_each_answer_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = [str(write(tmp_path / "a.jsonl")), "--label", "relay", "--student", "bundled:student-relay?dtype=float32"]
    assert call_certainty.main([*args, "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    assert sum(group["answers"] for group in groups.values()) == 6
    assert sum(group["calls"] for group in groups.values()) == 3
    expected: dict[str, list[float]] = {}
    for i in (1, 3, 5):
        expected.setdefault(FOUND[i].group, []).append(odds_of_the_first_command(i))
    assert sorted(map(len, expected.values())) == [1, 2]
    for name, values in expected.items():
        quartiles = statistics.quantiles(values, n=4) if len(values) == 2 else None
        assert groups[name]["quartiles"] == (None if quartiles is None else pytest.approx(quartiles, abs=0.01))
        above = sum(value > 1 for value in values) / groups[name]["answers"]
        assert groups[name]["above"]["1"] == pytest.approx(above)
    assert call_certainty.main(args) == 0
    assert capsys.readouterr().out.count("\n") == 2 + len(groups)


def test_a_method_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = [str(write(tmp_path / "a.jsonl")), "--label", "grpo", "--student", "bundled:student-relay"]
    assert call_certainty.main(args) == 2
    assert "no answers of 'grpo': write one of relay" in capsys.readouterr().err


@pytest.mark.parametrize("p", [1e-6, 0.3, 0.5, 0.999])
def test_log_odds(p: float) -> None:
    assert call_certainty.log_odds(math.log(p)) == pytest.approx(math.log(p / (1 - p)))


def test_a_certain_token_has_finite_log_odds() -> None:
    assert 27 < call_certainty.log_odds(0.0) <= call_certainty.log_odds(1e-9) < 28
