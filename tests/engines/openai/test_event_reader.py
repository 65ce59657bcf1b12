"""Reading the events of a response, without a network."""

from __future__ import annotations

from typing import Any

import pytest

from relay_core.engines.base import Chunk, EngineUsage, Finish
from relay_core.engines.openai.event_reader import EventReader
from relay_core.engines.openai.faults import Fault
from relay_core.engines.openai.protocol import Mode
from relay_core.errors import EngineError
from relay_core.tokenizer import Tokenizer


def event(ids: Any, text: str = "", finish: str | None = None, stop: Any = None, **more: Any) -> dict[str, Any]:
    choice = {"text": text, "token_ids": ids, "finish_reason": finish, "stop_reason": stop, **more}
    return {"choices": [choice]}


@pytest.fixture
def reader(qwen3: Tokenizer) -> EventReader:
    return EventReader(Mode.IDS, qwen3, [])


def whole(reader: EventReader, *payloads: dict[str, Any]) -> Chunk:
    """The payloads of one response as one chunk."""
    tokens = [token for payload in payloads for token in reader.read(payload).tokens]
    end = reader.end(is_done=False)
    return Chunk((*tokens, *end.tokens), end.finish, end.end_token, end.usage, end.notes)


def test_ids_are_read_with_their_own_text(reader: EventReader, qwen3: Tokenizer) -> None:
    ids = qwen3.encode("Fox 🦊!")
    texts = [reader.read(event([i])).tokens[0].text for i in ids]
    assert "".join(texts) == "Fox 🦊!"


def test_the_end_token_is_not_among_the_tokens(reader: EventReader, qwen3: Tokenizer) -> None:
    end = qwen3.hf.eos_token_id
    chunk = whole(reader, event([end], finish="stop"))
    assert (chunk.tokens, chunk.finish, chunk.end_token and chunk.end_token.id) == ((), Finish.END, end)


def test_a_stop_string_keeps_the_whole_token(reader: EventReader, qwen3: Tokenizer) -> None:
    ids = qwen3.encode("call>\n\n")
    chunk = whole(reader, *[event([i]) for i in ids[:-1]], event(ids[-1:], finish="stop", stop="call>"))
    assert chunk.finish is Finish.STOP
    assert chunk.tokens[-1].text == ">\n\n"
    assert chunk.end_token is None


@pytest.mark.parametrize("ids", ["x", [1.5], [-1], [10**9], [151_669], [True], [None], {"0": 1}, None])
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
    assert ("".join(t.text for t in chunk.tokens), chunk.ending) == (text, finish)


def test_usage_that_is_not_reported_is_none() -> None:
    read = EventReader(Mode.CHAT, None, []).read
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 8}}
    assert read({"choices": [], "usage": usage}).usage == EngineUsage(9, 8, 3)
    read = EventReader(Mode.CHAT, None, []).read
    assert read({"choices": []}).usage is None
    assert read({"choices": [], "usage": {"prompt_tokens": "9"}}).usage == EngineUsage(None, None, None)


def test_usage_that_cannot_be_true_is_not_believed() -> None:
    reader = EventReader(Mode.CHAT, None, [])
    for odd in (-1, True, 1.0, "9", 10**400, None, [1], {}):
        usage = {"prompt_tokens": odd, "completion_tokens": odd, "prompt_tokens_details": {"cached_tokens": odd}}
        assert reader.read({"choices": [], "usage": usage}).usage == EngineUsage(None, None, None)
    usage = {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 10}, "completion_tokens": 3}
    assert reader.read({"usage": usage}).usage == EngineUsage(9, None, 3)
    assert reader.read({"usage": {"completion_tokens": 0}}).usage == EngineUsage(9, None, 3), "a count does not shrink"


def test_a_content_filter_is_an_error_and_an_abort_a_fault() -> None:
    def end(reason: str) -> None:
        whole(EventReader(Mode.CHAT, None, []), {"choices": [{"delta": {}, "finish_reason": reason}]})

    with pytest.raises(EngineError, match="content filter") as error:
        end("content_filter")
    assert not isinstance(error.value, Fault)
    with pytest.raises(Fault, match="abort"):
        end("abort")


@pytest.mark.parametrize("value", [-(10**400), float("nan"), float("inf"), "1", True, None, [1]])
def test_an_odd_log_probability_is_none(value: Any, reader: EventReader, qwen3: Tokenizer) -> None:
    chunk = reader.read(event(qwen3.encode("1"), logprobs={"token_logprobs": [value]}))
    assert [token.logprob for token in chunk.tokens] == [None]


def test_an_end_token_before_other_tokens_is_an_ordinary_one(reader: EventReader, qwen3: Tokenizer) -> None:
    one, two = qwen3.encode("1")[0], qwen3.encode("2")[0]
    chunk = whole(reader, event([one], "1", "stop"), event([two], "2", "stop"))
    assert ([t.id for t in chunk.tokens], chunk.finish, chunk.end_token) == ([one, two], Finish.END, None)
    end = qwen3.hf.eos_token_id
    chunk = whole(EventReader(Mode.IDS, qwen3, []), event([one], "1", "stop"), event([end], "", "stop"))
    assert ([t.id for t in chunk.tokens], chunk.end_token and chunk.end_token.id) == ([one], end)


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"delta": {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}}, "ab"),
        ({"delta": {"content": ["a", "b"]}}, "ab"),
        (
            {"delta": {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "x"}]}, {"text": "b"}]}},
            "b",
        ),
        ({"delta": {"content": [{"type": "output_text", "text": "a"}, {"type": "image_url", "image_url": {}}]}}, "a"),
        ({"delta": {"content": [{"type": "text", "text": {"value": "a"}}]}}, "a"),
        ({"delta": {"content": []}}, ""),
        ({"message": {"content": "whole"}}, "whole"),
        ({"delta": None, "text": "a"}, "a"),
        ({"delta": {"refusal": "No."}}, "No."),
        ({"text": None}, ""),
    ],
)
def test_content_in_other_shapes(choice: dict[str, Any], text: str) -> None:
    chunk = EventReader(Mode.CHAT, None, []).read({"choices": [choice]})
    assert "".join(token.text for token in chunk.tokens) == text


ODD: list[Any] = [7, "none", [7], {"0": {}}, [None], [[]], True, [{"delta": 7}], [{"delta": "a"}], [{"text": 7}],
                  [{"text": {"a": 1}}], [{"delta": {"content": 7}}], [{"delta": {"content": [7]}}],
                  [{"delta": {"content": [{"text": 7}]}}], [{"delta": {"tool_calls": 7}}],
                  [{"delta": {"function_call": 7}}], [{"delta": {"tool_calls": [{"function": 7}]}}]]  # fmt: skip


@pytest.mark.parametrize("choices", ODD)
def test_odd_choices_are_a_fault(choices: Any) -> None:
    with pytest.raises(Fault, match="malformed"):
        EventReader(Mode.CHAT, None, []).read({"choices": choices})


@pytest.mark.parametrize("payload", [{"a": 1}, {}, {"choices": None}, {"choices": []}, {"choices": [{}]}, {"usage": 7}])
def test_a_payload_without_anything_is_nothing(payload: dict[str, Any]) -> None:
    chunk = EventReader(Mode.CHAT, None, []).read(payload)
    assert (chunk.tokens, chunk.ending, chunk.usage) == ((), None, None)
