"""LlamaIndex's messages as the chat template renders them."""

from __future__ import annotations

import pytest
from llama_index.core.base.llms.types import (
    CacheControl,
    CachePoint,
    ChatMessage,
    CitableBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.tools import FunctionTool

from llamaindex_relay.messages import ROLES, from_llamaindex, tool_schemas
from relay_core.chat import Conversation, render
from relay_core.errors import ConfigurationError
from relay_core.tokenizer import Tokenizer


def called(call_id: str | None = "c1", arguments: dict[str, str] | str | None = None) -> ChatMessage:
    block = ToolCallBlock(tool_call_id=call_id, tool_name="price", tool_kwargs=arguments or {"item": "lamp"})
    return ChatMessage(role="assistant", blocks=[TextBlock(text="Let me look."), block])


def result(text: str, call_id: str | None = "c1") -> ChatMessage:
    return ChatMessage(
        role="tool", content=text, additional_kwargs={} if call_id is None else {"tool_call_id": call_id}
    )


@pytest.mark.parametrize("role", MessageRole)
def test_every_role_of_llamaindex_has_a_place(role: MessageRole) -> None:
    assert role in ROLES
    if ROLES[role] != "tool":
        assert from_llamaindex([ChatMessage(role=role, content="hi")]) == [{"role": ROLES[role], "content": "hi"}]


def test_text_blocks_are_joined_and_hints_left_out() -> None:
    cache = CachePoint(cache_control=CacheControl(type="ephemeral"))
    citable = CitableBlock(title="List", source="a.txt", content="A lamp costs 47 coins.")
    blocks = [TextBlock(text="one"), ThinkingBlock(content="hm"), cache, TextBlock(text="two"), citable]
    assert from_llamaindex([ChatMessage(role="user", blocks=blocks)]) == [
        {"role": "user", "content": "one\ntwo\nA lamp costs 47 coins."}
    ]


def test_calls_and_results_come_out_in_the_template(qwen3: Tokenizer) -> None:
    messages = [ChatMessage(role="user", content="How much?"), called(), result("47 coins"), result("no such item")]
    prompt = render(qwen3, Conversation.of(from_llamaindex(messages))).text
    assert 'Let me look.\n<tool_call>\n{"name": "price", "arguments": {"item": "lamp"}}\n</tool_call>' in prompt
    assert "<tool_response>\n47 coins\n</tool_response>\n<tool_response>\nno such item\n</tool_response>" in prompt


def test_calls_of_older_messages_are_read_too() -> None:
    entry = {"id": "c1", "type": "function", "function": {"name": "price", "arguments": '{"item": "lamp"}'}}
    older = ChatMessage(role="assistant", content="", additional_kwargs={"tool_calls": [entry]})
    newer = ChatMessage(role="assistant", blocks=[called().blocks[1]])
    assert from_llamaindex([older]) == from_llamaindex([newer])


def test_a_calls_broken_arguments_stay_in_the_message_and_are_no_example_in_the_prompt(qwen3: Tokenizer) -> None:
    (message,) = from_llamaindex([called(arguments='{"item": la')])
    assert message["tool_calls"][0]["function"]["arguments"] == '{"item": la'
    assert '"arguments": {}}' in render(qwen3, Conversation.of([message])).text


def test_an_image_is_refused_by_name() -> None:
    image = ChatMessage(role="user", blocks=[TextBlock(text="What is this?"), ImageBlock(image=b"\x89PNG")])
    with pytest.raises(ConfigurationError, match=r"message 1 holds a ImageBlock: supported are text"):
        from_llamaindex([ChatMessage(role="user", content="hi"), image])


def test_a_result_needs_its_call() -> None:
    for orphans in (
        [result("47")],
        [called("other"), result("47")],
        [called(), ChatMessage(content="?"), result("47", "x")],
    ):
        with pytest.raises(ConfigurationError, match="made that call"):
            from_llamaindex(orphans)
    assert len(from_llamaindex([called(None), result("47", None)])) == 2


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="message 0 is a dict"):
        from_llamaindex([{"role": "user", "content": "hi"}])  # type: ignore[list-item]


def test_tools_become_json_schemas() -> None:
    def price(item: str, count: int = 1) -> int:
        """The price of an item."""
        return 47 * count

    (schema,) = tool_schemas([FunctionTool.from_defaults(price)])
    assert schema["function"]["name"] == "price"
    assert "The price of an item." in schema["function"]["description"]
    assert set(schema["function"]["parameters"]["properties"]) == {"item", "count"}
    assert schema["function"]["parameters"]["required"] == ["item"]
