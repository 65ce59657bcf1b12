"""What is sent and how it is read, without a network."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.engines.base import EngineUsage, Finish, Prompt, Sampling
from relay_core.engines.openai.engine import OpenAIEngine, _Reading
from relay_core.engines.openai.probe import Endpoint
from relay_core.engines.openai.protocol import GO_ON, Dialect, Mode, Reader, as_text, event_data, request_body
from relay_core.engines.openai.retries import Fault
from relay_core.errors import ConfigurationError, EngineError
from relay_core.relay import Relay
from relay_core.tokenizer import Tokenizer
from relay_core.tools import parse

PROMPT = Prompt("<user>Hi", [1, 2], [{"role": "user", "content": "Hi"}], "So far")


def body(dialect: Dialect, sampling: Sampling | None = None, prompt: Prompt = PROMPT, **so_far: Any) -> dict[str, Any]:
    sampling = sampling or Sampling(7)
    return request_body(
        "m", dialect, prompt, sampling, **{"ids": [], "text": "", "left": sampling.max_tokens, **so_far}
    )


def test_ids_are_sent_as_they_are_and_asked_for_back() -> None:
    sent = body(Dialect(Mode.IDS), Sampling(7, 0.5, 0.9, 40, 3, ("</call>",)), ids=[8, 9], left=5)
    assert sent["prompt"] == [1, 2, 8, 9]
    assert sent["max_tokens"] == 5
    assert sent["return_token_ids"] is True
    assert (sent["temperature"], sent["top_p"], sent["top_k"]) == (0.5, 0.9, 40)
    assert (sent["stop"], sent["include_stop_str_in_output"]) == (["</call>"], True)
    assert sent["seed"] == 5, "taken up after 2 tokens: other draws than the first time"


def test_nothing_is_left_to_the_models_own_generation_config() -> None:
    sent = body(Dialect(Mode.IDS))
    assert (sent["top_p"], sent["top_k"], sent["min_p"], sent["repetition_penalty"]) == (1.0, 0, 0.0, 1.0)


def test_text_goes_on_from_what_came() -> None:
    assert body(Dialect(Mode.COMPLETIONS), text=" world")["prompt"] == "<user>Hi world"


def test_chat_goes_on_from_a_trailing_message() -> None:
    dialect = Dialect(Mode.CHAT_CONTINUE, {"continue_final_message": True}, {"prefix": True})
    sent = body(dialect, text=" and on")
    assert sent["messages"][-1] == {"role": "assistant", "content": "So far and on", "prefix": True}
    assert sent["continue_final_message"] is True


def test_plain_chat_is_asked_in_words() -> None:
    sent = body(Dialect(Mode.CHAT, limit_name="max_completion_tokens"))
    assert [m["role"] for m in sent["messages"]] == ["user", "assistant", "user"]
    assert sent["messages"][-1]["content"] == GO_ON
    assert sent["max_completion_tokens"] == 7


@pytest.mark.parametrize("mode", [Mode.CHAT, Mode.CHAT_CONTINUE])
def test_an_answer_not_begun_is_a_plain_question(mode: Mode) -> None:
    sent = body(Dialect(mode, {"continue_final_message": True}), prompt=Prompt("", None, PROMPT.messages))
    assert sent["messages"] == [{"role": "user", "content": "Hi"}]
    assert "continue_final_message" not in sent


def test_a_schema_is_sent_as_each_mode_takes_it() -> None:
    schema = {"type": "object", "properties": {"price": {"type": "integer"}}}
    sampling = Sampling(7, json_schema=schema)
    assert body(Dialect(Mode.IDS), sampling)["structured_outputs"] == {"json": schema}
    for mode in (Mode.CHAT_CONTINUE, Mode.CHAT):
        asked = body(Dialect(mode), sampling)["response_format"]
        assert asked == {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        assert "response_format" not in body(Dialect(mode))
    assert "structured_outputs" not in body(Dialect(Mode.IDS))


@pytest.mark.parametrize("mode", Mode)
def test_whether_an_endpoint_constrains_is_known_from_its_mode(mode: Mode) -> None:
    engine = OpenAIEngine("m", "http://localhost:1/v1", api_key="k")
    assert engine.constrains, "as far as is known before it is asked"
    engine._adopt(Endpoint(Dialect(mode)))
    assert engine.constrains is (mode is not Mode.COMPLETIONS)


@given(st.text(st.characters(codec=None), max_size=20))
def test_whatever_is_in_the_text_the_body_can_be_sent(text: str) -> None:
    prompt = Prompt(text, None, [{"role": "user", "content": text}], text)
    for mode in (Mode.COMPLETIONS, Mode.CHAT, Mode.CHAT_CONTINUE):
        json.dumps(body(Dialect(mode), prompt=prompt), ensure_ascii=False).encode()


def test_surrogates_are_joined_or_replaced() -> None:
    assert as_text("a\ud83e\udd8ab") == "a🦊b"
    assert as_text("a\ud83eb\x00") == "a\ufffdb\x00"


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
def reader(qwen3: Tokenizer) -> Reader:
    return Reader(Mode.IDS, qwen3, [])


def test_ids_are_read_with_their_own_text(reader: Reader, qwen3: Tokenizer) -> None:
    ids = qwen3.encode("Fox 🦊!")
    texts = [reader.read(event([i])).tokens[0].text for i in ids]
    assert "".join(texts) == "Fox 🦊!"


def test_the_end_token_is_apart(reader: Reader, qwen3: Tokenizer) -> None:
    end = qwen3.hf.eos_token_id
    chunk = reader.read(event([end], finish="stop"))
    assert (chunk.tokens, chunk.finish, chunk.end_token and chunk.end_token.id) == ((), Finish.END, end)


def test_a_stop_string_keeps_the_whole_token(reader: Reader, qwen3: Tokenizer) -> None:
    ids = qwen3.encode("call>\n\n")
    for i in ids[:-1]:
        reader.read(event([i]))
    chunk = reader.read(event(ids[-1:], finish="stop", stop="call>"))
    assert chunk.finish is Finish.STOP
    assert chunk.tokens[-1].text == ">\n\n"
    assert chunk.end_token is None


@pytest.mark.parametrize("ids", ["x", [1.5], [-1], [10**9], [True], [None], {"0": 1}, None])
def test_wrong_ids_are_a_fault(reader: Reader, ids: Any) -> None:
    with pytest.raises(Fault, match="wrong token ids"):
        reader.read(event(ids, "text"))


def test_ids_that_say_something_else_than_the_text_are_a_fault(reader: Reader, qwen3: Tokenizer) -> None:
    reader.read(event(qwen3.encode("one"), "one"))
    reader.read(event(qwen3.encode(" two"), ""))  # the server may hold text back
    reader.read(event(qwen3.encode(" three"), " two three"))
    with pytest.raises(Fault, match="wrong token ids"):
        reader.read(event(qwen3.encode(" four"), " five"))


def test_log_probabilities_come_with_their_tokens(reader: Reader, qwen3: Tokenizer) -> None:
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
    chunk = Reader(Mode.CHAT, None, []).read({"choices": [choice]})
    assert ("".join(t.text for t in chunk.tokens), chunk.finish) == (text, finish)


def tool_delta(index: int, arguments: str, name: str | None = None) -> dict[str, Any]:
    return {"delta": {"tool_calls": [{"index": index, "function": {"name": name, "arguments": arguments}}]}}


def test_tool_calls_that_a_server_parsed_are_text_again() -> None:
    reader = Reader(Mode.CHAT_CONTINUE, None, [])
    stream = [
        {"delta": {"content": "I look. "}},
        tool_delta(0, "", "price"),
        tool_delta(0, '{"item": '),
        tool_delta(0, '"tea"}'),
        tool_delta(1, '{"item": "pen"}', "stock"),
        {"delta": {}, "finish_reason": "tool_calls"},
    ]
    chunks = [reader.read({"choices": [choice]}) for choice in stream]
    parsed = parse("".join(token.text for chunk in chunks for token in chunk.tokens))
    assert parsed.content.strip() == "I look."
    assert [(call.name, call.arguments) for call in parsed.calls] == [
        ("price", {"item": "tea"}),
        ("stock", {"item": "pen"}),
    ]
    assert chunks[-1].finish is Finish.END


def test_a_tool_call_that_was_cut_short_stays_open() -> None:
    reader = Reader(Mode.CHAT, None, [])
    cut = [tool_delta(0, '{"item": ', "price"), {"delta": {}, "finish_reason": "length"}]
    text = "".join(token.text for choice in cut for token in reader.read({"choices": [choice]}).tokens)
    assert text == '<tool_call>\n{"name": "price", "arguments": {"item": '


@pytest.mark.parametrize("calls", ["x", [1], [{}], [{"function": {"name": "a", "arguments": 1}}], {"a": 1}, 3])
def test_malformed_tool_calls_are_a_fault(calls: Any) -> None:
    with pytest.raises(Fault, match="malformed tool calls"):
        Reader(Mode.CHAT, None, []).read({"choices": [{"delta": {"tool_calls": calls}}]})


def test_usage_is_read_and_never_made_up() -> None:
    read = Reader(Mode.CHAT, None, []).read
    given = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 8}}
    assert read({"choices": [], "usage": given}).usage == EngineUsage(9, 8, 3)
    assert read({"choices": [], "usage": {"prompt_tokens": "9"}}).usage == EngineUsage(None, None, None)
    assert read({"choices": []}).usage is None


def test_a_content_filter_is_an_error_and_an_abort_a_fault() -> None:
    read = Reader(Mode.CHAT, None, []).read
    with pytest.raises(EngineError, match="content filter") as error:
        read({"choices": [{"delta": {}, "finish_reason": "content_filter"}]})
    assert not isinstance(error.value, Fault)
    with pytest.raises(Fault, match="abort"):
        read({"choices": [{"delta": {}, "finish_reason": "abort"}]})


def test_a_student_that_is_down_is_an_engine_error_of_its_own_role() -> None:
    engine = OpenAIEngine("s", "http://127.0.0.1:9/v1", retries=0, breaker_after=1)
    relay = Relay(engine, None)
    for why in ("could not be reached", "circuit breaker is open"):
        with pytest.raises(EngineError, match=f"^student: .*{why}") as failed:
            relay.generate("Hi")
        assert type(failed.value) is EngineError
        assert failed.value.role == "student"
        assert failed.value.__cause__ is not None


def test_what_was_passed_over_is_said_in_plain_words() -> None:
    engine = OpenAIEngine("m", "http://localhost:1/v1", api_key="k")
    engine._adopt(Endpoint(Dialect(Mode.CHAT), tried={Mode.IDS: "why"}))
    assert "{'ids': 'why'}" in str(engine.describe())


@pytest.mark.parametrize("mode", Mode)
def test_no_beginning_is_forced_where_none_is_taken(mode: Mode) -> None:
    engine = OpenAIEngine("m", "http://localhost:1/v1", api_key="k", mode=mode, retries=0)
    assert engine.continues, "as far as is known before it is asked"
    engine._adopt(Endpoint(Dialect(mode)))
    assert engine.continues is (mode is not Mode.CHAT)


def test_a_forced_beginning_in_plain_chat_is_refused() -> None:
    student = OpenAIEngine("m", "http://localhost:1/v1", api_key="k", retries=0)
    student._adopt(Endpoint(Dialect(Mode.CHAT)))
    with pytest.raises(ConfigurationError, match="json_schema"):
        Relay(student, None).generate("Hi", prefix="{")


@pytest.mark.parametrize(
    ("last", "error"),
    [
        (b'data: {"choices": [{"text": "", "finish_reason": "content_filter"}]}', "content filter"),
        (b"data: [DONE]", "ended before the answer did"),
        (b"data: {", "malformed JSON"),
    ],
)
async def test_an_error_that_comes_with_text_takes_none_of_it(last: bytes, error: str) -> None:
    class AllAtOnce:
        def __init__(self) -> None:
            self.lines = [
                b'data: {"choices": [{"text": "a"}]}',
                b": still here",
                b'data: {"choices": [{"text": "b"}]}',
                last,
            ]

        @property
        def waiting(self) -> bool:
            return bool(self.lines)

        async def line(self) -> bytes | None:
            return self.lines.pop(0)

    loop = asyncio.get_running_loop()
    reading = _Reading(loop, 10, loop.time() + 10)
    reading.response, reading.reader = AllAtOnce(), Reader(Mode.COMPLETIONS, None, ())  # type: ignore[assignment]
    await reading.prime()
    assert [token.text for token in (await reading.next()).tokens] == ["a", "b"]
    with pytest.raises(EngineError, match=error):
        await reading.next()
