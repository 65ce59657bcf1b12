"""The bundled pair: no reader sees a command or a piece of one, however calls are refused or cut off."""

import pytest

from relay_core import EngineError, Relay, RelaySettings, ScriptedEngine, engine_from_spec
from relay_core.bundled import task

PROBLEMS = [problem.messages for problem in task.problems(60, split="test", group="medium")]


@pytest.mark.parametrize(
    "refused",
    [{"calls": False}, {"max_calls": 0}, {"max_teacher_tokens": 0}, {"max_tokens": 64}, {"teacher": None}, {}],
)
def test_no_markup_is_shown(refused: dict) -> None:
    dead = ScriptedEngine([[EngineError("dead")]] * 200)
    teacher = refused.pop("teacher", dead)
    with Relay(engine_from_spec("bundled"), teacher, RelaySettings(max_tokens=300).merged(refused)) as relay:
        results = relay.batch(PROBLEMS)
    shown = [r.text for r in results if "<call" in r.text or "call>" in r.text or "</" in r.text]
    assert shown == []
    counts = [r.usage for r in results]
    assert sum(u.refused_calls + u.malformed_calls + u.failed_calls for u in counts) > 5
