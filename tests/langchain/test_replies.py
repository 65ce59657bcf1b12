"""A stream's chunks, added up, are the invoked message: for random answers, cut at random, by random authors."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.utils.json import parse_partial_json

from langchain_relay import ChatRelay
from langchain_relay.replies import Delta, broken_ending
from relay_core import ScriptedEngine
from relay_core.transcript import Author
from testing.tool_call_ids import without_random_ids

WORDS = ["the ", "price", " is", " <", "b>", "\n\n", "€", " 你好", ".", "<tool", " }", '"', "é", "</tool_call>"]


def pick(name: str = "") -> int:
    """Pick one."""
    return 0


def random_call(rng: random.Random) -> str:
    arguments = {
        rng.choice(["a", "b", "ü"]): rng.choice([1, "x", 'q"uo\\te', [1, {"z": None}], "<i>", "\n"]) for _ in "12"
    }
    body = json.dumps({"name": "pick", "arguments": arguments}, ensure_ascii=rng.random() < 0.5)
    kind = rng.random()
    if kind < 0.15:
        body = body[: rng.randrange(len(body))]  # cut short
    elif kind < 0.25:
        body = rng.choice(['{"arguments": {}}', "pick()", '{"name": "pick", "arguments": [1]}', body + "x"])
    elif kind < 0.35:
        body = rng.choice(['{"name": "pick"}', '{"arguments": {"a": 1}, "name": "pick"}'])
    return f"<tool_call>\n{body}" + ("\n</tool_call>" if rng.random() < 0.85 else "")


def random_answer(rng: random.Random) -> tuple[list[str], list[str]]:
    """The student's turns and the teacher's: an answer, cut at random and handed over there."""
    parts = [rng.choice(WORDS) if rng.random() < 0.7 else random_call(rng) for _ in range(rng.randrange(1, 9))]
    text = "".join(parts)
    student, teacher, at = [], [], 0
    while at < len(text) and len(teacher) < rng.randrange(4):
        student_end, teacher_length = rng.randrange(at, len(text) + 1), rng.randrange(1, 9)
        student.append(text[at:student_end] + "<call>40</call>")
        teacher.append(text[student_end : student_end + teacher_length])
        at = student_end + teacher_length
    return [*student, text[at:]], teacher


def calls(message: Any) -> list[Any]:
    return [message.tool_calls, message.invalid_tool_calls]


@pytest.mark.parametrize(
    ("answers", "tools", "output_version"), [(200, True, None), (40, False, None), (40, True, "v1")]
)
async def test_the_sum_of_the_chunks_is_the_message(
    scripted: Callable[..., ScriptedEngine], answers: int, tools: bool, output_version: str | None
) -> None:
    seen = {"calls": 0, "broken": 0, "handed over": 0}
    for seed in range(answers):
        rng = random.Random(seed)
        student, teacher = random_answer(rng)
        model: Any = ChatRelay(
            student=scripted(student, chunk=rng.randrange(1, 5)),
            teacher=scripted(teacher, chunk=rng.randrange(1, 3)),
            on_teacher_stop="continue",
            output_version=output_version,
        )
        model = model.bind_tools([pick]) if tools else model
        chunks = [chunk async for chunk in model.astream("Go.")]
        streamed = chunks[0]
        for chunk in chunks[1:]:
            streamed += chunk
        invoked = await model.ainvoke("Go.")
        assert streamed.content == invoked.content or output_version, seed  # blocks of a stream are numbered
        assert streamed.text == invoked.text, seed
        assert without_random_ids(calls(streamed)) == without_random_ids(calls(invoked)), seed
        assert streamed.usage_metadata == invoked.usage_metadata, seed
        metadata = [without_random_ids(message.response_metadata) for message in (streamed, invoked)]
        assert metadata[0] == metadata[1], seed
        assert [c.chunk_position for c in chunks if c.chunk_position] == ["last"], seed
        assert sum(c.usage_metadata is not None for c in chunks) == 1, seed
        seen["calls"] += len(invoked.tool_calls)
        seen["broken"] += len(invoked.invalid_tool_calls)
        seen["handed over"] += invoked.response_metadata["relay"]["calls"]
        check_spans(invoked)
    assert seen["handed over"] > answers / 4, seen
    assert (seen["calls"] > answers / 4, seen["broken"] > answers / 10) == (tools, tools), seen


def check_spans(message: Any) -> None:
    """Spans tile the text they speak of."""
    relay = message.response_metadata["relay"]
    for text, spans in [
        (message.text, relay["spans"]),
        *((w["text"], w["spans"]) for w in [relay.get("written")] if w),
    ]:
        edges = [(s["start"], s["end"]) for s in spans]
        assert "".join(text[a:b] for a, b in edges) == text
        assert all(a < b for a, b in edges)
        assert all(s["author"] in ("student", "teacher") for s in spans)


def test_every_chunk_says_its_author(scripted: Callable[..., ScriptedEngine]) -> None:
    model = ChatRelay(student=scripted(["47 * 6 = <call>3</call>", ". Done."]), teacher=scripted("282"))
    chunks = list(model.stream("47 * 6?"))
    authors = [(chunk.name, chunk.content) for chunk in chunks if chunk.content]
    assert "".join(text for name, text in authors if name == "teacher") == "282"
    assert "".join(text for name, text in authors if name == "student") == "47 * 6 = . Done."
    assert chunks[-1].name is None


def test_a_teacher_may_write_a_calls_arguments(scripted: Callable[..., ScriptedEngine]) -> None:
    student = scripted(['<tool_call>\n{"name": "pick", "arguments": {"name": "<call>9</call>', '"}}\n</tool_call>'])
    model = ChatRelay(student=student, teacher=scripted("Zoë"), on_teacher_stop="continue").bind_tools([pick])
    chunks = list(model.stream("Who?"))
    parts = [(chunk.name, part["args"]) for chunk in chunks for part in chunk.tool_call_chunks]
    assert "".join(args or "" for name, args in parts if name == "teacher") == "Zoë"
    assert model.invoke("Who?").tool_calls[0]["args"] == {"name": "Zoë"}
    written = chunks[-1].response_metadata["relay"]["written"]
    (span,) = [s for s in written["spans"] if s["author"] == "teacher"]
    assert written["text"][span["start"] : span["end"]] == "Zoë"


@pytest.mark.parametrize("whole", ['{"a": "b\\"c", "d": [1, {"e": "\\\\"}]}', "{}", '{"x": {"y": ["z"]}}'])
def test_no_beginning_of_an_object_can_be_completed_behind_its_ending(whole: str) -> None:
    for end in range(len(whole) + 1):
        beginning = whole[:end]
        chunk = AIMessageChunk(
            content="",
            tool_call_chunks=[{"name": "pick", "args": beginning + broken_ending(beginning), "id": "1", "index": 0}],
        )
        assert chunk.tool_calls == []
        assert chunk.invalid_tool_calls[0]["args"].startswith(beginning)
    assert isinstance(parse_partial_json(whole[: len(whole) // 2 + 1] if len(whole) > 2 else whole), dict)


@pytest.mark.parametrize("author", Author)
def test_a_text_chunk_is_what_langchain_would_have_made(author: Author) -> None:
    made, other = Delta(author, "abc").chunk(), Delta(author, "def").chunk()
    checked = ChatGenerationChunk(message=AIMessageChunk(content="abc", name=str(author)))
    assert made == checked
    assert made.model_dump() == checked.model_dump()
    for one, another in ((made, other), (made.message, other.message)):
        assert one is not another
        for name, value in vars(one).items():  # what could be changed in place belongs to this chunk alone
            assert isinstance(value, str | None) or value is not vars(another)[name], name
            assert type(value) is type(vars(checked if one is made else checked.message)[name])
    made.message.id = "run"
    assert other.message.id is None
    assert (made + other).text == "abcdef"
