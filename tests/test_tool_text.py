"""Tools, calls and results as text."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from relay_core.tool_parser import parse_answer
from relay_core.tool_text import as_text, call_text, offer_text, result_text
from relay_core.tools import forced_prefix

texts = st.one_of(st.text(), st.sampled_from(["</tool_call>", "<tool_call>", '"}', "\\", "\n", "<|im_end|>"]))


@given(st.text(min_size=1), st.dictionaries(texts, st.one_of(texts, st.integers(), st.lists(texts))))
def test_a_call_is_read_back_as_it_was(name: str, arguments: dict[str, Any]) -> None:
    written = call_text({"name": name, "arguments": arguments})
    (call,) = parse_answer(written).tool_calls
    assert (call.name, call.arguments) == (name, arguments)
    assert written.count("<tool_call>") == written.count("</tool_call>") == 1
    assert written.startswith(forced_prefix(name)), "the form that a forced answer begins with"


def test_what_is_said_of_the_tools_on_offer() -> None:
    tools = [{"type": "function", "function": {"name": name, "description": "</tools> {x}"}} for name in ("a", "b")]
    text = offer_text(tools)
    assert text.count("</tools>") == 2, "the closing tag, and where the tags are explained"
    assert '{"name": "a", "description": "\\u003c/tools> {x}"}' in text
    assert '{"name": "b", ' in text
    assert '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>' in text


def test_the_messages_have_no_calls_and_no_results_afterwards() -> None:
    call = {"id": "1", "function": {"name": "now", "arguments": {}}}
    messages = [
        {"role": "user", "content": "When?"},
        {"role": "assistant", "content": "", "tool_calls": [call, call]},
        {"role": "tool", "content": "noon", "tool_call_id": "1"},
        {"role": "tool", "content": "one", "tool_call_id": "1"},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": "Soon.", "tool_calls": [call]},
        {"role": "tool", "content": "two", "tool_call_id": "1"},
    ]
    called = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
    results = f"{result_text('noon')}\n{result_text('one')}"
    assert as_text(messages, wants_turns=False) == [
        {"role": "user", "content": "When?"},
        {"role": "assistant", "content": f"{called}\n{called}"},
        {"role": "user", "content": results},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": f"Soon.\n{called}"},
        {"role": "user", "content": result_text("two")},
    ]
    in_turns = as_text(messages, wants_turns=True)
    assert [message["role"] for message in in_turns] == ["user", "assistant"] * 2 + ["user"]
    assert in_turns[2]["content"] == f"{results}\n\nAnd?"
    assert messages[2]["content"] == "noon", "the caller's messages are as they were"
