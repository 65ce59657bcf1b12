"""Both sides of a relay are held to one constraint: what each request is told of the text so far."""

from __future__ import annotations

from typing import Any

import pytest

from relay_core import ConfigurationError, Constraint, Relay, ScriptedEngine
from relay_core.tokenizer import Tokenizer
from relay_core.tools import offer

SCHEMA = {"type": "object", "properties": {"sum": {"type": "string"}}}
CONSTRAINT = Constraint.json_schema(SCHEMA)


@pytest.fixture
def scripted(qwen3: Tokenizer) -> Any:
    return lambda script, **options: ScriptedEngine(script, qwen3, record=True, **{"constrains": True, **options})


def begun(engine: ScriptedEngine) -> list[str]:
    return [sampling.begun for _, sampling in engine.requests]


@pytest.mark.parametrize("warming", ["on", "off"])
async def test_each_request_begins_where_the_readers_text_stands(scripted: Any, warming: str) -> None:
    student, teacher = scripted(['{"sum": "<call>3</call>', '"}']), scripted("282 coins")
    result = await Relay(student, teacher).agenerate("47 * 6?", constraint=CONSTRAINT, warming=warming)
    assert result.text == '{"sum": "282"}'
    assert begun(student) == ["", '{"sum": "282']
    assert set(begun(teacher)) == {'{"sum": "'}
    assert all(s.json_schema == SCHEMA for e in (student, teacher) for _, s in e.requests)


async def test_half_a_character_of_the_teacher_is_left_out(scripted: Any, qwen3: Tokenizer) -> None:
    """The grammar goes on behind the text; before, the student continued half a character that the text lacked."""
    half = qwen3.encode("𓀀")[:1]
    assert qwen3.ends_in_character(half)
    for constraint in (CONSTRAINT, None):
        student, teacher = scripted(['{"sum": "<call>3</call>', '"}']), scripted([["2", *half, "x"]])
        result = await Relay(student, teacher).agenerate("47?", constraint=constraint, max_call_tokens=2)
        ids = list(student.requests[1][0].token_ids)
        assert ids[-2:] == [*qwen3.encode("2"), *half] if constraint is None else ids[-1:] == qwen3.encode("2")
        assert result.usage.teacher_tokens == 2


async def test_the_prefix_is_no_part_of_the_constrained_text(scripted: Any) -> None:
    student, teacher = scripted([' {"item": "<call>1</call>', '"}}\n</tool_call>']), scripted("tea")
    tool = {"name": "price", "parameters": {"type": "object", "properties": {"item": {"type": "string"}}}}
    offered = offer([tool], "price")
    await Relay(student, teacher).agenerate(
        "How much?", tools=offered.tools, prefix=offered.prefix, constraint=offered.constraint
    )
    assert begun(student) == ["", ' {"item": "tea']
    assert set(begun(teacher)) == {' {"item": "'}
    assert offered.constraint is not None
    assert all(s.tool_call == offered.constraint.value for _, s in teacher.requests)


async def test_a_command_that_opens_no_call_is_taken_out_before_the_student_goes_on(scripted: Any) -> None:
    student = scripted(['{"sum": "<call>0</call>', '282"}'], honour_stop=True)
    result = await Relay(student, None).agenerate("47 * 6?", constraint=CONSTRAINT)
    assert result.text == '{"sum": "282"}'
    assert begun(student) == ["", '{"sum": "']


@pytest.mark.parametrize("side", ["student", "teacher"])
async def test_calls_are_refused_where_an_engine_cannot_begin_within_a_constraint(scripted: Any, side: str) -> None:
    student, teacher = scripted('{"sum": "<call>3</call>282"}'), scripted("no")
    (student if side == "student" else teacher).resumes_constraints = False
    result = await Relay(student, teacher).agenerate("47 * 6?", constraint=CONSTRAINT)
    assert result.text == '{"sum": "282"}'
    assert (result.usage.calls, result.usage.refused_calls) == (0, 1)
    assert "1 calls were refused" in result.notes["constraint"]
    assert not teacher.requests


async def test_a_teacher_that_cannot_constrain_is_not_called(scripted: Any) -> None:
    student, teacher = scripted('{"sum": "<call>3</call>282"}'), scripted("no", constrains=False)
    result = await Relay(student, teacher).agenerate("47 * 6?", constraint=CONSTRAINT)
    assert result.usage.refused_calls == 1
    assert not teacher.requests


async def test_a_student_that_cannot_constrain_is_refused_before_it_writes(scripted: Any) -> None:
    student = scripted("x", constrains=False)
    with pytest.raises(ConfigurationError, match=r"scripted \(ScriptedEngine\) cannot hold a text to regex"):
        await Relay(student, None).agenerate("?", constraint=Constraint.regex("a"))
    assert not student.requests


async def test_a_forced_tool_call_of_such_a_student_is_written_freely(scripted: Any) -> None:
    student, teacher = scripted([' {"n": <call>1</call>', "}}"], constrains=False), scripted("4")
    offered = offer([{"name": "add"}], "add")
    options = {"tools": offered.tools, "prefix": offered.prefix, "constraint": offered.constraint}
    result = await Relay(student, teacher).agenerate("?", **options)
    assert result.text == ' {"n": 4}}'
    assert [s.tool_call for _, s in student.requests] == [None, None]
