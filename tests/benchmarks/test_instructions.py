"""The benchmark of instructions: its questions, and how it counts calls."""

from __future__ import annotations

import json

import pytest

from benchmarks import instruction_questions, instructions
from relay_core import Relay, ScriptedEngine
from relay_core.instructions import BY_NAME


@pytest.mark.parametrize("name", BY_NAME)
def test_the_questions_are_distinct(name: str) -> None:
    due, others = instruction_questions.questions(0, name)
    assert len(set(due)) == len(due) == (70 if name == "calculations" else 20)
    assert len(set(others)) == len(others) == 100 and not set(due) & set(others)


def test_it_counts_the_answers_that_open_a_call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """A student that calls where its question is about cards."""

    def student(prompt):
        return "It is <call>8</call>" if "cards" in prompt.text.rsplit("user", 1)[-1] else "It is so."

    def loaded(model, teacher, settings):
        assert model == "some model" and "calculation" in settings.student_instructions
        return Relay(ScriptedEngine(student, tokenizer="bundled"), None, settings)

    monkeypatch.setattr(
        instructions, "Relay", lambda model, *rest: (loaded if isinstance(model, str) else Relay)(model, *rest)
    )
    assert instructions.main(["--model", "some model", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["due"]["answers"] == 70 and result["due"]["with_a_call"] == 10
    assert result["others"] == {"answers": 100, "with_a_call": 0, "which": []}
