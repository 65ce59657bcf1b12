from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.chat import Conversation, render
from relay_core.errors import ConfigurationError
from relay_core.tokenizer import Tokenizer
from relay_core.tool_parser import parse_answer
from relay_core.tools import (
    Offer,
    assistant_message,
    forced_prefix,
    function_schema,
    offer,
    tool_call_entry,
    tool_call_ids,
    tool_message,
)

ADD = {"name": "add", "description": "Add.", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
NOW = {"type": "function", "function": {"name": "now"}}


# -- what is offered


def test_a_schema_is_put_into_the_function_form() -> None:
    assert function_schema(ADD) == {"type": "function", "function": ADD}
    assert function_schema(NOW)["function"] == {
        "name": "now",
        "description": "",
        "parameters": {"type": "object", "properties": {}},
    }


@pytest.mark.parametrize("tool", [{}, {"name": ""}, {"function": {}}, {"name": "x", "parameters": "none"}, "add"])
def test_what_is_no_schema_is_refused(tool: Any) -> None:
    with pytest.raises(ConfigurationError):
        function_schema(tool)


@pytest.mark.parametrize(
    ("choice", "tools", "prefix"),
    [
        (None, 2, ""),
        ("auto", 2, ""),
        (False, 2, ""),
        ("none", 0, ""),
        ("any", 2, '<tool_call>\n{"name": "'),
        ("required", 2, '<tool_call>\n{"name": "'),
        (True, 2, '<tool_call>\n{"name": "'),
        ("now", 2, '<tool_call>\n{"name": "now", "arguments":'),
        ({"type": "function", "function": {"name": "add"}}, 2, '<tool_call>\n{"name": "add", "arguments":'),
    ],
)
def test_a_choice_is_enforced_by_how_the_answer_begins(choice: Any, tools: int, prefix: str) -> None:
    offered = offer([ADD, NOW], choice)
    assert (len(offered.tools), offered.prefix) == (tools, prefix)


def test_any_of_one_tool_is_that_tool() -> None:
    assert offer([ADD], "any").prefix == forced_prefix("add")


def test_no_tools_offer_nothing() -> None:
    assert offer(None) == offer([]) == Offer()


@pytest.mark.parametrize(("tools", "choice"), [([], "any"), ([ADD], "now"), ([ADD], 3), ([ADD], {"function": {}})])
def test_a_choice_that_cannot_be_is_refused(tools: list[Any], choice: Any) -> None:
    with pytest.raises(ConfigurationError, match="tool_choice"):
        offer(tools, choice)


def test_a_forced_prefix_is_a_beginning_of_what_the_template_renders(qwen3: Tokenizer) -> None:
    messages = [{"role": "user", "content": "hi"}, assistant_message("", [tool_call_entry("1", "add", {"a": 1})])]
    text = render(qwen3, Conversation.of(messages)).text
    assert forced_prefix() in text
    assert forced_prefix("add") in text
    whole = text[text.index("<tool_call>") : text.index("</tool_call>")]
    for prefix in (forced_prefix(), forced_prefix("add")):  # it ends where a token of the usual spelling ends
        ids, prefix_ids = qwen3.encode(whole), qwen3.encode(prefix)
        assert ids[: len(prefix_ids)] == prefix_ids


# -- what goes back


def test_earlier_calls_and_results_are_rendered_by_the_template(qwen3: Tokenizer) -> None:
    messages = [
        {"role": "user", "content": "1 + 2?"},
        assistant_message("Let me see.", [tool_call_entry("c1", "add", {"a": 1}), tool_call_entry("c2", "now", {})]),
        tool_message("3", "c1"),
        tool_message("Error: no clock", "c2"),
    ]
    text = render(qwen3, Conversation.of(messages, tools=offer([ADD, NOW]).tools)).text
    parsed = parse_answer(text[text.index("Let me see.") : text.index("<|im_end|>\n<|im_start|>user\n<tool_response>")])
    assert parsed.content == "Let me see."
    assert [(c.name, c.arguments) for c in parsed.tool_calls] == [("add", {"a": 1}), ("now", {})]
    assert "<tool_response>\n3\n</tool_response>\n<tool_response>\nError: no clock\n</tool_response>" in text
    assert '"name": "add"' in text.split("\n</tools>")[0]


@given(st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.lists(st.text()))))
def test_arguments_keep_their_meaning_and_hold_no_tag(arguments: dict[str, Any]) -> None:
    arguments["tags"] = "</tool_call> <|im_end|> <tool_call>"
    written = tool_call_entry("1", "add", arguments)["function"]["arguments"]
    assert json.loads(written) == arguments
    assert "tool_call>" not in written.replace("\\u003ctool_call>", "").replace("\\u003c/tool_call>", "")
    assert "<|" not in written


def test_a_broken_call_goes_back_as_it_was_written() -> None:
    assert tool_call_entry("1", "add", '{"a": ')["function"]["arguments"] == '{"a": '


def test_ids_are_unique_in_an_answer_and_among_answers() -> None:
    answers = [tool_call_ids() for _ in range(100)]
    ids = [new_id(index) for new_id in answers for index in range(3)]
    assert len(set(ids)) == 300
    assert ids == [new_id(index) for new_id in answers for index in range(3)]  # the parts of one answer agree
