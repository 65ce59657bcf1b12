from __future__ import annotations

from typing import Any

import pytest
from langchain_core.exceptions import LangChainException
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_relay.messages import to_prompt
from relay_core import RelayError

CALL: dict[str, Any] = {"name": "add", "args": {"a": 1}, "id": "c1", "type": "tool_call"}


def test_roles_and_text() -> None:
    messages = [
        SystemMessage("s"),
        HumanMessage("h", name="someone"),
        AIMessage("a"),
        ChatMessage(role="developer", content="d"),
        ChatMessage(role="user", content="u"),
        ChatMessage(role="assistant", content="x"),
        HumanMessage(["one", {"type": "text", "text": " two"}]),
    ]
    assert [(m["role"], m["content"]) for m in to_prompt(messages)] == [
        ("system", "s"),
        ("user", "h"),
        ("assistant", "a"),
        ("system", "d"),
        ("user", "u"),
        ("assistant", "x"),
        ("user", "one two"),
    ]


def test_calls_and_their_results() -> None:
    call, result = to_prompt([AIMessage("hm", tool_calls=[CALL]), ToolMessage("3", tool_call_id="c1")])
    assert call["content"] == "hm"
    assert call["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    ]
    assert result == {"role": "tool", "content": "3", "tool_call_id": "c1"}


@pytest.mark.parametrize(("content", "converted"), [("no b", "Error: no b"), ("Error: no b", "Error: no b")])
def test_a_failed_tool_says_so(content: str, converted: str) -> None:
    failed = ToolMessage(content, tool_call_id="c1", status="error")
    assert to_prompt([AIMessage("", tool_calls=[CALL]), failed])[1]["content"] == converted


def test_broken_calls_go_back_as_they_were_written_and_may_be_answered() -> None:
    broken = {"id": "c2", "name": "add", "args": '{"a": ', "error": None, "type": "invalid_tool_call"}
    nameless = {**broken, "id": "c3", "name": None, "args": "<tool_call>x"}
    message = AIMessage("", invalid_tool_calls=[broken, nameless])
    converted, _ = to_prompt([message, ToolMessage("bad", tool_call_id="c2")])
    assert converted["tool_calls"][0]["function"]["arguments"] == '{"a": '
    assert converted["content"] == "<tool_call>x"


def test_blocks_that_say_nothing_new_are_left_out() -> None:
    blocks: list[Any] = [
        {"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "text", "text": "yes"},
        {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}},
    ]
    (converted,) = to_prompt([AIMessage(blocks, tool_calls=[CALL])])
    assert converted["content"] == "yes"
    assert len(converted["tool_calls"]) == 1


@pytest.mark.parametrize(
    "message",
    [FunctionMessage("3", name="add"), RemoveMessage(id="1"), ChatMessage(role="critic", content="x")],
)
def test_other_messages_are_refused_by_naming_what_is_supported(message: BaseMessage) -> None:
    with pytest.raises(RelayError, match="HumanMessage, AIMessage, ToolMessage"):
        to_prompt([message])


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "image", "base64": "", "mime_type": "image/png"},
        {"type": "input_audio", "input_audio": {}},
        {"type": "file", "base64": "", "mime_type": "application/pdf"},
        {"no": "type"},
        {"type": "text", "text": None},
    ],
)
@pytest.mark.parametrize("kind", [HumanMessage, SystemMessage, AIMessage])
def test_what_is_not_text_is_refused_by_naming_what_is_supported(kind: Any, block: dict[str, Any]) -> None:
    with pytest.raises(RelayError, match="write text"):
        to_prompt([kind([block])])


def test_a_result_without_its_call_is_langchains_own_error() -> None:
    with pytest.raises(LangChainException, match=r"'c9'[^$]*INVALID_TOOL_RESULTS") as caught:
        to_prompt([AIMessage("", tool_calls=[CALL]), ToolMessage("3", tool_call_id="c9")])
    assert isinstance(caught.value, (ValueError, RelayError))
