"""Streamed and whole answers say the same."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ToolCallBlock

from llamaindex_relay import RelayLLM
from relay_core import Relay, ScriptedEngine
from relay_core.tokenizer import Tokenizer
from testing.tool_call_ids import without_random_ids

TOOL = {"name": "price", "description": "", "parameters": {"type": "object", "properties": {}}}
TEXTS = st.text(st.sampled_from('ab \n<>{}"/é漢🙂'), max_size=12) | st.sampled_from(
    ["<tool_call", "</tool_call>", "<call>"]
)
CALLS = st.sampled_from(
    [
        '<tool_call>\n{"name": "price", "arguments": {"item": "lamp", "n": [1, 2]}}\n</tool_call>',
        '<tool_call>{"name": "stock", "arguments": {}}</tool_call>',
        '<tool_call>\n{"arguments": {"a": "b"}, "name": "price"}\n</tool_call>',
        '<tool_call>\n{"name": "price", "arguments": {"item": }}\n</tool_call>',
        '<tool_call>\n{"name": "price", "arguments": {"item": "la',
    ]
)
TURN = st.lists(TEXTS | CALLS, max_size=4).map("".join)


@st.composite
def scripts(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """The student's turns, each but the last ending in a command, and the teacher's."""
    turns, teacher = draw(st.lists(TURN, min_size=1, max_size=4)), draw(st.lists(TURN, min_size=3, max_size=3))
    return [f"{turn}<call>9</call>" for turn in turns[:-1]] + turns[-1:], teacher


def comparable(response: ChatResponse) -> dict[str, Any]:
    raw = dict(response.raw)
    answer = {"message": response.message.model_dump(), "raw": raw, "kwargs": response.additional_kwargs}
    result: dict[str, Any] = without_random_ids(answer)
    return result


async def both(llm: RelayLLM, **options: Any) -> tuple[list[ChatResponse], ChatResponse]:
    messages = [ChatMessage(content="How much?")]
    streamed = [response async for response in await llm.astream_chat(messages, **options)]
    return streamed, await llm.achat(messages, **options)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=scripts(), chunk=st.integers(1, 7), parallel=st.booleans(), tools=st.booleans())
def test_a_stream_adds_up_to_the_whole_answer(
    qwen3: Tokenizer, script: tuple[list[str], list[str]], chunk: int, parallel: bool, tools: bool
) -> None:
    student, teacher = (ScriptedEngine(turns, qwen3, chunk=chunk) for turns in script)
    llm = RelayLLM(relay=Relay(student, teacher, None), on_teacher_stop="continue")
    options = {"tools": [TOOL], "allow_parallel_tool_calls": parallel} if tools else {}
    streamed, whole = asyncio.run(both(llm, **options))

    assert comparable(streamed[-1]) == comparable(whole)
    text = whole.message.content or ""
    assert "".join(response.delta or "" for response in streamed) == text
    calls = [block for block in whole.message.blocks if isinstance(block, ToolCallBlock)]
    assert len(calls) <= 1 or (parallel and tools)

    # each delta's author is the author of its span of the text
    at = 0
    spans = whole.additional_kwargs["relay"]["spans"]
    assert "".join(text[span["start"] : span["end"]] for span in spans) == text
    for response in streamed[:-1]:
        if response.delta:
            (span,) = [s for s in spans if s["start"] <= at < s["end"]]
            assert response.additional_kwargs["relay"]["author"] == span["author"]
            at += len(response.delta)
            assert at <= span["end"]


def test_the_ids_of_tool_calls_are_unique_and_those_of_one_answer_agree(make_llm: Any) -> None:
    llm = make_llm('<tool_call>\n{"name": "price", "arguments": {"item": "lamp", "count": 3}}\n</tool_call>')
    streamed, whole = asyncio.run(both(llm, tools=[TOOL]))
    ids = [
        {call.tool_id for call in llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)}
        for response in (*streamed, whole)
    ]
    assert set().union(*ids[:-1]) == ids[-2]
    assert len(ids[-2] | ids[-1]) == 2
    listed = whole.message.additional_kwargs["tool_calls"]
    assert {call["id"] for call in listed} == ids[-1]


def test_partial_calls_show_while_they_stream(make_llm: Any) -> None:
    llm = make_llm('Look: <tool_call>\n{"name": "price", "arguments": {"item": "lamp", "count": 3}}\n</tool_call>')
    streamed, _ = asyncio.run(both(llm, tools=[TOOL]))
    seen = [llm.get_tool_calls_from_response(r, error_on_no_tool_call=False) for r in streamed]
    kwargs = [calls[0].tool_kwargs for calls in seen if calls]
    assert kwargs[0] == {}
    assert kwargs[-1] == {"item": "lamp", "count": 3}
    assert {"item": "lamp"} in kwargs
    assert streamed[-1].message.content == "Look:"


def test_a_broken_call_stays_in_the_text_and_is_listed(make_llm: Any) -> None:
    written = '<tool_call>\n{"name": "price", "arguments": {"item": lamp}}\n</tool_call>'
    _, whole = asyncio.run(both(make_llm(written), tools=[TOOL]))
    assert whole.message.content == written
    (broken,) = whole.message.additional_kwargs["invalid_tool_calls"]
    assert broken["name"] == "price"
    assert "not JSON" in broken["error"]


def test_a_broken_call_belongs_to_those_who_wrote_it(make_llm: Any) -> None:
    llm = make_llm(
        ['<tool_call>\n{"name": "price", "arguments": {"item": <call>3</call>', "}}\n</tool_call>"],
        "lamp",
        on_teacher_stop="continue",
    )
    _, whole = asyncio.run(both(llm, tools=[TOOL]))
    text = whole.message.content or ""
    spans = whole.raw["relay"]["spans"]
    assert [text[s["start"] : s["end"]] for s in spans if s["author"] == "teacher"] == ["lamp"]
    assert "".join(text[s["start"] : s["end"]] for s in spans) == text


def test_without_tools_nothing_is_a_call(make_llm: Any) -> None:
    written = '<tool_call>\n{"name": "price", "arguments": {}}\n</tool_call>'
    _, whole = asyncio.run(both(make_llm(written)))
    assert whole.message.content == written
    assert not whole.message.additional_kwargs


def test_the_teacher_may_write_a_calls_arguments(make_llm: Any) -> None:
    student = ['<tool_call>\n{"name": "price", "arguments": {"item": "<call>3</call>', '"}}\n</tool_call>']
    llm = make_llm(student, "brass lamp", on_teacher_stop="continue")
    streamed, whole = asyncio.run(both(llm, tools=[TOOL]))
    (call,) = llm.get_tool_calls_from_response(whole)
    assert call.tool_kwargs == {"item": "brass lamp"}
    assert {r.additional_kwargs["relay"]["author"] for r in streamed[:-1]} == {"student", "teacher"}
    assert "<call>" not in str(whole.raw)
    assert whole.raw["relay"]["calls"] == 1
