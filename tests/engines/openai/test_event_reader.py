"""Reading the events of a response, without a network."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.engines.base import EngineUsage, Finish
from relay_core.engines.openai.event_reader import EventReader, event_data
from relay_core.engines.openai.faults import Fault
from relay_core.engines.openai.protocol import Mode
from relay_core.errors import EngineError
from relay_core.tokenizer import Tokenizer
from relay_core.tool_parser import parse_answer


@given(st.binary(max_size=60))
def test_any_line_is_data_nothing_or_a_fault(line: bytes) -> None:
    try:
        payload = event_data(b"data: " + line)
    except Fault:
        return
    assert payload is None or isinstance(payload, dict)


def test_lines_of_an_event_stream() -> None:
    assert event_data(b"") is None
    assert event_data(b": keep-alive") is None
    assert event_data(b"event: x") is None
    assert event_data(b"data: [DONE]") == {}
    assert event_data(b'data:{"a":1}') == {"a": 1}
    for bad in (b"<html>", b'data: {"a":', b"data: [1]", b'data: {"error": {"message": "overloaded"}}', b"data: \xff"):
        with pytest.raises(Fault):
            event_data(bad)


def event(ids: Any, text: str = "", finish: str | None = None, stop: Any = None, **more: Any) -> dict[str, Any]:
    choice = {"text": text, "token_ids": ids, "finish_reason": finish, "stop_reason": stop, **more}
    return {"choices": [choice]}


@pytest.fixture
def reader(qwen3: Tokenizer) -> EventReader:
    return EventReader(Mode.IDS, qwen3, [])


def test_ids_are_read_with_their_own_text(reader: EventReader, qwen3: Tokenizer) -> None:
    ids = qwen3.encode("Fox 🦊!")
    texts = [reader.read(event([i])).tokens[0].text for i in ids]
    assert "".join(texts) == "Fox 🦊!"


def test_the_end_token_is_not_among_the_tokens(reader: EventReader, qwen3: Tokenizer) -> None:
    end = qwen3.hf.eos_token_id
    chunk = reader.read(event([end], finish="stop"))
    assert (chunk.tokens, chunk.finish, chunk.end_token and chunk.end_token.id) == ((), Finish.END, end)


def test_a_stop_string_keeps_the_whole_token(reader: EventReader, qwen3: Tokenizer) -> None:
    ids = qwen3.encode("call>\n\n")
    for i in ids[:-1]:
        reader.read(event([i]))
    chunk = reader.read(event(ids[-1:], finish="stop", stop="call>"))
    assert chunk.finish is Finish.STOP
    assert chunk.tokens[-1].text == ">\n\n"
    assert chunk.end_token is None


@pytest.mark.parametrize("ids", ["x", [1.5], [-1], [10**9], [True], [None], {"0": 1}, None])
def test_wrong_ids_are_a_fault(reader: EventReader, ids: Any) -> None:
    with pytest.raises(Fault, match="wrong token ids"):
        reader.read(event(ids, "text"))


def test_ids_whose_text_is_not_the_servers_are_a_fault(reader: EventReader, qwen3: Tokenizer) -> None:
    reader.read(event(qwen3.encode("one"), "one"))
    reader.read(event(qwen3.encode(" two"), ""))  # the server may hold text back
    reader.read(event(qwen3.encode(" three"), " two three"))
    with pytest.raises(Fault, match="wrong token ids"):
        reader.read(event(qwen3.encode(" four"), " five"))


def test_log_probabilities_come_with_their_tokens(reader: EventReader, qwen3: Tokenizer) -> None:
    ids = qwen3.encode("1 + 2")
    chunk = reader.read(event(ids, logprobs={"token_logprobs": [-0.5] * len(ids)}))
    assert [t.logprob for t in chunk.tokens] == [-0.5] * len(ids)
    assert reader.read(event(ids[:1], logprobs={"token_logprobs": []})).tokens[0].logprob is None


@pytest.mark.parametrize(
    ("choice", "text", "finish"),
    [({"text": "a", "finish_reason": None}, "a", None),
     ({"delta": {"role": "assistant"}, "finish_reason": None}, "", None),
     ({"delta": {"content": "b"}}, "b", None),
     ({"delta": {"reasoning_content": "hidden"}}, "", None),
     ({"delta": {}, "finish_reason": "length"}, "", Finish.LENGTH),
     ({"delta": {"content": None}, "finish_reason": "tool_calls"}, "", Finish.END)],
)  # fmt: skip
def test_text_and_chat_events(choice: dict[str, Any], text: str, finish: Finish | None) -> None:
    chunk = EventReader(Mode.CHAT, None, []).read({"choices": [choice]})
    assert ("".join(t.text for t in chunk.tokens), chunk.finish) == (text, finish)


def tool_delta(index: int, arguments: str, name: str | None = None) -> dict[str, Any]:
    return {"delta": {"tool_calls": [{"index": index, "function": {"name": name, "arguments": arguments}}]}}


def test_tool_calls_that_a_server_parsed_are_text_again() -> None:
    reader = EventReader(Mode.CHAT_CONTINUE, None, [])
    stream = [
        {"delta": {"content": "I look. "}},
        tool_delta(0, "", "price"),
        tool_delta(0, '{"item": '),
        tool_delta(0, '"tea"}'),
        tool_delta(1, '{"item": "pen"}', "stock"),
        {"delta": {}, "finish_reason": "tool_calls"},
    ]
    chunks = [reader.read({"choices": [choice]}) for choice in stream]
    parsed = parse_answer("".join(token.text for chunk in chunks for token in chunk.tokens))
    assert parsed.content.strip() == "I look."
    assert [(call.name, call.arguments) for call in parsed.tool_calls] == [
        ("price", {"item": "tea"}),
        ("stock", {"item": "pen"}),
    ]
    assert chunks[-1].finish is Finish.END


def test_a_tool_call_that_ends_at_the_length_limit_stays_open() -> None:
    reader = EventReader(Mode.CHAT, None, [])
    cut = [tool_delta(0, '{"item": ', "price"), {"delta": {}, "finish_reason": "length"}]
    text = "".join(token.text for choice in cut for token in reader.read({"choices": [choice]}).tokens)
    assert text == '<tool_call>\n{"name": "price", "arguments": {"item": '


@pytest.mark.parametrize("calls", ["x", [1], [{}], [{"function": {"name": "a", "arguments": 1}}], {"a": 1}, 3])
def test_malformed_tool_calls_are_a_fault(calls: Any) -> None:
    with pytest.raises(Fault, match="malformed tool calls"):
        EventReader(Mode.CHAT, None, []).read({"choices": [{"delta": {"tool_calls": calls}}]})


def test_usage_that_is_not_reported_is_none() -> None:
    read = EventReader(Mode.CHAT, None, []).read
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 8}}
    assert read({"choices": [], "usage": usage}).usage == EngineUsage(9, 8, 3)
    assert read({"choices": [], "usage": {"prompt_tokens": "9"}}).usage == EngineUsage(None, None, None)
    assert read({"choices": []}).usage is None


def test_a_content_filter_is_an_error_and_an_abort_a_fault() -> None:
    read = EventReader(Mode.CHAT, None, []).read
    with pytest.raises(EngineError, match="content filter") as error:
        read({"choices": [{"delta": {}, "finish_reason": "content_filter"}]})
    assert not isinstance(error.value, Fault)
    with pytest.raises(Fault, match="abort"):
        read({"choices": [{"delta": {}, "finish_reason": "abort"}]})
