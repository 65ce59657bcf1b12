"""Rollouts: who writes the first token, who goes on, and what the answers decide."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay_core import Commands, Hidden, Relay, RelaySettings, ScriptedEngine
from relay_core.decoding.triggers import Candidate, Never, Uncertain
from relay_core.engines.base import Token
from relay_core.evaluate.citer.references import Reference
from relay_core.evaluate.citer.rollouts import Begins, Rollouts, open_places
from relay_core.evaluate.store import Journal
from relay_core.tokenizer import Tokenizer
from testing.tasks import FixedTask, problem


def test_the_first_token_is_decided_and_the_trigger_decides_about_the_others(qwen3: Tokenizer) -> None:
    with Relay(ScriptedEngine("a b c d", qwen3), ScriptedEngine("X Y", qwen3)) as relay:
        by_teacher = relay.generate("?", trigger=Begins("teacher", Never()), on_teacher_stop="continue")
        by_student = relay.generate("?", trigger=Begins("student", Never()))
    assert next((s.author, s.tokens) for s in by_teacher.segments) == ("teacher", 1)
    assert by_teacher.usage.calls == 1 and by_student.usage.calls == 0
    assert Begins("student", Hidden("folder", 0.5)).needed_head == "folder"

    unsure = Token(1, "x", -2.0, False, -2.0)
    for first, calls in (("teacher", [1, 8]), ("student", [0, 8])):
        decider = Begins(first, Uncertain(0.5, 8)).decider(None)  # type: ignore[arg-type]
        halt = decider.halt(None)
        assert halt is not None and [halt(0, unsure), halt(1, unsure)] == [first == "teacher", True]
        assert [decider.before_token(Candidate(unsure, i)) for i in range(2)] == calls
        later = decider.halt(0)
        assert later is not None and later(0, unsure)
    decider = Begins("student", Commands()).decider(None)
    assert not decider.halt(None)(1, unsure), "a trigger without a halt"  # type: ignore[misc]


def test_open_places() -> None:
    assert open_places([True, False, False, True], [True, True, False, False]) == [2]


@pytest.mark.parametrize(
    ("student", "teacher", "prefers"),
    [
        (" 7. \\boxed{8}", " 8. \\boxed{9}", True),
        (" 7. \\boxed{9}", " 8. \\boxed{9}", False),
        (" 7. \\boxed{9}", " 8. \\boxed{8}", False),
        (" 7. \\boxed{8}", " 8. \\boxed{8}", False),
        (" 7. \\boxed{8}", " 8. \\boxed{9}" + " and on" * 60, False),  # right, but it does not end
    ],
)
async def test_only_a_right_answer_of_the_teachers_alone_prefers_it(
    student: str, teacher: str, prefers: bool, qwen3: Tokenizer, tmp_path: Path
) -> None:
    """In the first round, each model goes on alone; what was rolled out is kept."""
    ids = qwen3.encode("It is 4 + 5 = 9.")
    p, reference = problem("4 + 5?", 9), Reference([1], ids, False, [False] * len(ids))
    engines = [ScriptedEngine(text, qwen3, record=True) for text in (student, teacher)]
    settings = RelaySettings(max_tokens=50)

    def rollouts(*models: ScriptedEngine) -> Rollouts:
        return Rollouts(*models, FixedTask(), settings, Journal(tmp_path / "rollouts.jsonl"), None)

    place = len(ids) - 2
    assert await rollouts(*engines).prefers_teacher(p, "key", reference, place) is prefers
    assert [prompt.continuation for e in engines for prompt, _ in e.requests] == [qwen3.decode(ids[:place])] * 2
    broken = [ScriptedEngine("", qwen3, record=True) for _ in engines]
    assert await rollouts(*broken).prefers_teacher(p, "key", reference, place) is prefers
    assert not any(e.requests for e in broken)


async def test_nothing_is_said_about_a_place_whose_text_has_other_tokens(qwen3: Tokenizer, tmp_path: Path) -> None:
    split = [*qwen3.encode("so"), *qwen3.encode("me"), *qwen3.encode(" x")]  # `some` is one token
    engines = [ScriptedEngine("x", qwen3, record=True) for _ in range(2)]
    rollouts = Rollouts(*engines, FixedTask(), RelaySettings(), Journal(tmp_path / "r.jsonl"), None)
    assert await rollouts.prefers_teacher(problem("?", 1), "key", Reference([1], split), 2) is None
    assert not any(e.requests for e in engines)
