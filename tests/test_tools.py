from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.chat import Conversation, render
from relay_core.errors import ConfigurationError
from relay_core.tokenizer import Tokenizer
from relay_core.tools import (
    CallDelta,
    Content,
    InvalidToolCall,
    Offer,
    Parsed,
    ToolCall,
    ToolCallParser,
    assistant_message,
    call_entry,
    call_ids,
    forced_prefix,
    function_schema,
    offer,
    parse,
    tool_message,
)

ADD = {"name": "add", "description": "Add.", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
NOW = {"type": "function", "function": {"name": "now"}}


def called(name: str, arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


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
    messages = [{"role": "user", "content": "hi"}, assistant_message("", [call_entry("1", "add", {"a": 1})])]
    text = render(qwen3, Conversation.of(messages)).text
    assert forced_prefix() in text
    assert forced_prefix("add") in text
    whole = text[text.index("<tool_call>") : text.index("</tool_call>")]
    for prefix in (forced_prefix(), forced_prefix("add")):  # it ends where a token of the usual spelling ends
        ids, begun = qwen3.encode(whole), qwen3.encode(prefix)
        assert ids[: len(begun)] == begun


# -- what goes back


def test_earlier_calls_and_results_are_rendered_by_the_template(qwen3: Tokenizer) -> None:
    messages = [
        {"role": "user", "content": "1 + 2?"},
        assistant_message("Let me see.", [call_entry("c1", "add", {"a": 1}), call_entry("c2", "now", {})]),
        tool_message("3", "c1"),
        tool_message("Error: no clock", "c2"),
    ]
    text = render(qwen3, Conversation.of(messages, tools=offer([ADD, NOW]).tools)).text
    parsed = parse(text[text.index("Let me see.") : text.index("<|im_end|>\n<|im_start|>user\n<tool_response>")])
    assert parsed.content == "Let me see."
    assert [(c.name, c.arguments) for c in parsed.calls] == [("add", {"a": 1}), ("now", {})]
    assert "<tool_response>\n3\n</tool_response>\n<tool_response>\nError: no clock\n</tool_response>" in text
    assert '"name": "add"' in text.split("\n</tools>")[0]


@given(st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.lists(st.text()))))
def test_arguments_keep_their_meaning_and_hold_no_tag(arguments: dict[str, Any]) -> None:
    arguments["tags"] = "</tool_call> <|im_end|> <tool_call>"
    written = call_entry("1", "add", arguments)["function"]["arguments"]
    assert json.loads(written) == arguments
    assert "tool_call>" not in written.replace("\\u003ctool_call>", "").replace("\\u003c/tool_call>", "")
    assert "<|" not in written


def test_a_broken_call_goes_back_as_it_was_written() -> None:
    assert call_entry("1", "add", '{"a": ')["function"]["arguments"] == '{"a": '


def test_ids_are_the_same_for_the_same_conversation_only() -> None:
    one, again, other = call_ids([{"content": "a"}]), call_ids([{"content": "a"}]), call_ids([{"content": "b"}])
    assert one(0) == again(0) != other(0)
    assert one(0) != one(1)


# -- what comes out


def test_text_without_a_call_comes_out_as_it_went_in() -> None:
    for text in ("", " \n", "Hello.\n\n", "a < b, </tool_call>, <tool", "<tool_cal l>"):
        assert parse(text) == Parsed(text)


def test_several_calls_and_text_around_them() -> None:
    parsed = parse(f"Let me see.\n{called('add', {'a': 1})}\n{called('now', {})}\n\nDone. ")
    assert parsed.content == "Let me see.\n\nDone. "
    assert [(c.index, c.name, c.arguments) for c in parsed.calls] == [(0, "add", {"a": 1}), (1, "now", {})]
    assert parsed.invalid == []


def test_space_around_a_lone_call_is_no_content() -> None:
    assert parse(f"\n\n{called('now', {})}\n").content == ""


@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        ('{"name": "add", "arguments": {"a": "}\\"{"}}', {"a": '}"{'}),
        ('{"arguments": {"a": 1}, "name": "add"}', {"a": 1}),
        ('{"name": "add"}', {}),
        ('{"name": "add", "arguments": null}', {}),
        ('{"name": "add", "arguments": "{\\"a\\": 1}"}', {"a": 1}),
        ('{"name":"add","arguments":{"a":"line\nbreak"}}', {"a": "line\nbreak"}),
        ('{"name": "add", "arguments": {"ä": "你好"}}', {"ä": "你好"}),
    ],
)
def test_spellings_of_a_call_that_are_understood(body: str, arguments: dict[str, Any]) -> None:
    assert [(c.name, c.arguments) for c in parse(f"<tool_call>{body}</tool_call>").calls] == [("add", arguments)]


@pytest.mark.parametrize("end", ["", "\n", "<tool_call>" + '{"name": "now"}'])
def test_a_whole_call_needs_no_closing_tag(end: str) -> None:
    calls = parse('<tool_call>{"name": "add", "arguments": {"a": 1}}' + end).calls
    assert calls[0].arguments == {"a": 1}
    assert len(calls) == (2 if "now" in end else 1)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("", None),
        ("add(1)", None),
        ('{"arguments": {}}', None),
        ('{"name": 3, "arguments": {}}', None),
        ('{"name": "add", "arguments": [1]}', "add"),
        ('{"name": "add", "arguments": {"a": 1}', "add"),
        ('{"name": "add", "arguments": {"a": ', "add"),
        ('{"name": "add", "arguments": {}} x', "add"),
        ("[" * 5000, None),
    ],
)
@pytest.mark.parametrize("close", ["</tool_call>", ""])
def test_a_broken_call_is_kept_as_it_was_written(body: str, name: str | None, close: str) -> None:
    parsed = parse(f"So: <tool_call>{body}{close}")
    (broken,) = parsed.invalid
    assert (parsed.content, parsed.calls) == ("So:", [])
    assert (broken.name, broken.source) == (name, f"<tool_call>{body}{close}")
    assert broken.error


def test_a_call_ends_at_the_first_closing_tag_even_inside_a_string() -> None:
    parsed = parse('<tool_call>{"name": "add", "arguments": {"a": "</tool_call>"}}</tool_call>')
    assert len(parsed.invalid) == 1
    assert parsed.content == '"}}</tool_call>'


PIECES = [
    *("<", "<tool", "<tool_call>", "</tool_call>", " ", "\n", "Hi.", '"}', "{", "}", "[1]"),
    *(called("add", {"a": '<b> "c" \\'}), called("now", {}), '<tool_call>{"name": "add", "arguments": {"a": "'),
    *('{"name": "now", "arguments": {}}', '<tool_call>{"name": "x"}'),
]
texts = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


@given(texts, st.lists(st.integers(0, 400), max_size=30))
def test_however_the_stream_is_cut_it_says_the_same(text: str, cuts: list[int]) -> None:
    parser = ToolCallParser()
    edges = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    pieces = [p for a, b in pairwise(edges) for p in parser.feed(text[a:b])] + parser.flush()
    whole = parse(text)
    assert "".join(p.text for p in pieces if isinstance(p, Content)) == whole.content
    assert [p for p in pieces if isinstance(p, ToolCall)] == whole.calls
    assert [p for p in pieces if isinstance(p, InvalidToolCall)] == whole.invalid
    for piece in pieces:
        if isinstance(piece, Content):
            assert text[piece.start : piece.start + len(piece.text)] == piece.text
    for call in whole.calls:
        deltas = [p for p in pieces if isinstance(p, CallDelta) and p.index == call.index]
        assert [d.name for d in deltas[:2]] == [call.name, None]
        assert json.loads("".join(d.arguments for d in deltas), strict=False) == call.arguments
    for broken in whole.invalid:
        written = "".join(p.arguments for p in pieces if isinstance(p, CallDelta) and p.index == broken.index)
        assert written == broken.arguments
        assert broken.source in text


@given(texts)
def test_nothing_that_is_held_back_is_lost(text: str) -> None:
    parsed = parse(text)
    assert len(parsed.content) <= len(text)
    if "<tool_call>" not in text:
        assert parsed.content == text


def test_a_stream_shows_text_and_arguments_as_soon_as_they_are_certain() -> None:
    parser = ToolCallParser()
    assert parser.feed("Wait <tool") == [Content("Wait", 0)]
    assert parser.feed('_call>{"name": "add", "arg') == []
    name, arguments = parser.feed('uments": {"a": "x')
    assert isinstance(name, CallDelta)
    assert isinstance(arguments, CallDelta)
    assert (name.name, name.arguments) == ("add", "")
    assert (arguments.name, arguments.arguments) == (None, '{"a": "x')
    assert [p.arguments for p in parser.feed("y</") if isinstance(p, CallDelta)] == ["y"]
