"""benchmarks/scheduled_calls.py: calls come where the schedule sets them, and no more tokens are asked for."""

from __future__ import annotations

import pytest

from benchmarks.scheduled_calls import CallPoint, DictatedCalls, ScheduledCalls, random_schedule
from relay_core import Relay, ScriptedEngine, command
from relay_core.engines.base import Finish, Prompt, Sampling
from relay_core.tokenizer import Tokenizer


@pytest.mark.parametrize("chunk", [1, 3, 100])
async def test_scheduled_calls_come_where_they_are_set(qwen3: Tokenizer, chunk: int) -> None:
    words = [" word" * 40]
    student = ScheduledCalls(ScriptedEngine(words * 9, qwen3, chunk=chunk), lambda _, turn: CallPoint(5 + turn, 3))
    result = await Relay(student, ScriptedEngine(" and" * 40, qwen3)).agenerate("Go.", max_tokens=60)
    segments = [(str(segment.author), len(segment.token_ids)) for segment in result.segments]
    command_length = len(qwen3.encode(command.write(3)))
    assert segments[:3] == [("student", 5), ("command", command_length), ("teacher", 3)]
    assert segments[3:6] == [("student", 6), ("command", command_length), ("teacher", 3)]
    assert result.usage.calls == 3 and result.usage.completion_tokens == 60
    assert result.text.startswith(" word" * 5 + " and" * 3 + " word" * 6 + " and" * 3)


async def test_a_scheduled_turn_is_no_longer_than_its_call_needs(qwen3: Tokenizer) -> None:
    inner = ScriptedEngine(" word" * 40, qwen3, record=True)
    student = ScheduledCalls(inner, random_schedule(20, 6))
    prompt = Prompt("x", [1], [{"role": "user", "content": "x"}])
    for max_tokens, stop in ((100, ("</call>",)), (8, ("</call>",)), (30, ())):
        chunks = [chunk async for chunk in student.stream(prompt, Sampling(max_tokens, stop=stop))]
        inner_sampling = inner.requests[-1][1]
        assert sum(len(chunk.tokens) for chunk in chunks) == inner_sampling.max_tokens <= max_tokens
        assert not inner_sampling.stop
        assert chunks[-1].finish is (Finish.STOP if max_tokens == 100 else Finish.LENGTH)


def test_call_points_follow_from_the_prompt_and_the_turn() -> None:
    schedule = random_schedule(32, 6)
    messages = [[{"role": "user", "content": f"question {i}"}] for i in range(200)]
    drawn = [schedule(m, turn) for m in messages for turn in range(3)]
    assert drawn == [schedule(m, turn) for m in messages for turn in range(3)]
    assert {point.n for point in drawn} == set(range(3, 10)) and {point.after for point in drawn} == set(range(16, 49))


@pytest.mark.parametrize("chunk", [1, 3])
async def test_dictated_calls_are_half_to_one_and_a_half_times_as_far_apart(qwen3: Tokenizer, chunk: int) -> None:
    words = [" <word" * 60]
    student = DictatedCalls(ScriptedEngine(words * 9, qwen3, chunk=chunk), every=40, n=3)
    result = await Relay(student, ScriptedEngine(" and" * 40, qwen3)).agenerate("Go.", max_tokens=200)
    assert result.usage.calls >= 2
    turns = result.segments[: 3 * result.usage.calls]
    assert [str(segment.author) for segment in turns] == ["student", "command", "teacher"] * result.usage.calls
    for own, dictated, teacher in zip(turns[::3], turns[1::3], turns[2::3], strict=True):
        assert dictated.text == "<call>3</call>" and len(teacher.token_ids) == 3 and "<" not in own.text
        assert 20 <= len(own.token_ids) + len(dictated.token_ids) <= 60
