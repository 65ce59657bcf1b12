from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core import tool_call, tool_parser
from relay_core.tool_call import InvalidToolCall, ToolCall, ToolCallDelta
from relay_core.tool_parser import Content, ParsedAnswer, ToolCallParser, parse_answer


def written_tool_call(name: str, arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def test_text_without_a_call_comes_out_as_it_went_in() -> None:
    for text in ("", " \n", "Hello.\n\n", "a < b, </tool_call>, <tool", "<tool_cal l>"):
        assert parse_answer(text) == ParsedAnswer(text)


def test_several_calls_and_text_around_them() -> None:
    tool_calls = f"{written_tool_call('add', {'a': 1})}\n{written_tool_call('now', {})}"
    parsed = parse_answer(f"Let me see.\n{tool_calls}\n\nDone. ")
    assert parsed.content == "Let me see.\n\nDone. "
    assert [(c.index, c.name, c.arguments) for c in parsed.tool_calls] == [(0, "add", {"a": 1}), (1, "now", {})]
    assert parsed.invalid_tool_calls == []


def test_space_around_a_lone_call_is_no_content() -> None:
    assert parse_answer(f"\n\n{written_tool_call('now', {})}\n").content == ""


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
    tool_calls = parse_answer(f"<tool_call>{body}</tool_call>").tool_calls
    assert [(c.name, c.arguments) for c in tool_calls] == [("add", arguments)]


ADD, NOW = '{"name": "add", "arguments": {"a": 1}}', '{"name": "now", "arguments": {}}'


@pytest.mark.parametrize(
    ("body", "count", "content"),
    [
        (f"\n```json\n{ADD}\n```\n", 1, ""),
        (f"```{ADD}```", 1, ""),
        (f"```json\n{ADD}", 1, ""),
        (f"`{ADD}`", 1, "`"),
        (f"[{ADD}]", 1, ""),
        (f"\n[\n  {ADD},\n  {NOW}\n]\n", 2, ""),
        (f"```\n[{ADD} , {NOW}]\n```", 2, ""),
        (f"[{ADD}", 1, ""),
        (f"[{ADD}, {NOW}", 2, ""),
        (f"[{ADD} so", 1, " so"),
        (f"[{ADD}, so", 1, " so"),
        (f"[{ADD}] so", 1, " so"),
        (f"```{ADD}`` so", 1, "`` so"),
        (f"[{ADD}]]", 1, "]"),
        (f"\n{{{ADD}}}\n", 1, ""),
        (f"{{ {ADD} }}", 1, ""),
        (f"```json\n{{{ADD}}}\n``` so", 1, "\n so"),
        (f"{{{ADD} so", 1, " so"),
        ("{'name': 'add', 'arguments': {'a': 1}}", 1, ""),
        ("\n{'name': 'add', \"arguments\": {'a': 1}}\n", 1, ""),
        ("```python\n{'name': 'add', 'arguments': {'a': 1}}\n```", 1, ""),
        ('{"name": "add", "parameters": {"a": 1}}', 1, ""),
        ('{"name": "add", "arguments": {"a": 1}, "parameters": {}}', 1, ""),
    ],
)
@pytest.mark.parametrize("close", ["</tool_call>", ""])
def test_what_small_models_write_in_place_of_json_alone(body: str, count: int, content: str, close: str) -> None:
    text = f"So: <tool_call>{body}{close}"
    parsed = parse_answer(text, str)
    calls = [(call.index, call.name, call.arguments) for call in parsed.tool_calls]
    assert calls == [(0, "add", {"a": 1}), (1, "now", {})][:count]
    assert (parsed.content, parsed.invalid_tool_calls) == ("So:" + content, [])
    parser = ToolCallParser(str)
    pieces = [*(piece for char in text for piece in parser.feed(char)), *parser.flush()]
    assert [piece for piece in pieces if isinstance(piece, ToolCall)] == parsed.tool_calls
    assert "".join(piece.text for piece in pieces if isinstance(piece, Content)) == parsed.content


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (ADD, ""),
        (f"\n {ADD}\n", ""),
        (f"```json\n{ADD}\n```\nI look it up.", "I look it up."),
        (f"```\n{{{ADD}}}\n```", ""),
        (f"{{{ADD}}}", ""),
        (ADD.replace("arguments", "parameters"), ""),
        (f"{ADD} {ADD}", ADD),
        (f"{ADD}</tool_call>", ""),
    ],
)
def test_an_answer_that_begins_with_a_call_of_a_known_tool_needs_no_tag(text: str, content: str) -> None:
    assert parse_answer(text).content == text, "without names, it is text"
    for names in (["add"], ["now", "add"]):
        parsed = parse_answer(text, str, names)
        assert [(call.index, call.name, call.arguments) for call in parsed.tool_calls] == [(0, "add", {"a": 1})]
        assert (parsed.content, parsed.invalid_tool_calls) == (content, [])
        parser = ToolCallParser(str, names)
        pieces = [*(piece for char in text for piece in parser.feed(char)), *parser.flush()]
        assert [piece for piece in pieces if isinstance(piece, ToolCall)] == parsed.tool_calls
        assert "".join(piece.text for piece in pieces if isinstance(piece, Content)) == content
        deltas = [piece for piece in pieces if isinstance(piece, ToolCallDelta)]
        assert json.loads("".join(delta.arguments for delta in deltas)) == {"a": 1}


@pytest.mark.parametrize(
    "text",
    [
        NOW,
        f"So: {ADD}",
        '{"name": "add", "age": 7}',
        '{"name": "add"}',
        '{"name": "add", "arguments": [1]}',
        '{"answer": "add"}',
        "{",
        '{"name": "add", "arg',
        "```python\nprint(1)\n```",
        "``` \n",
        "`add`",
        "{{{",
        '{"name": "' + "add" * 100 + '", "arguments": {}}',
        " \n",
        " Hello. ",
    ],
)
def test_any_other_answer_without_a_tag_is_text(text: str) -> None:
    assert parse_answer(text, str, ["add"]) == ParsedAnswer(text)
    parser = ToolCallParser(str, ["add"])
    pieces = [*(piece for char in text for piece in parser.feed(char)), *parser.flush()]
    assert "".join(piece.text for piece in pieces if isinstance(piece, Content)) == text


def test_text_is_held_back_only_while_it_may_become_a_call_without_a_tag() -> None:
    parser = ToolCallParser(str, ["add"])
    assert parser.feed('{"na') == []
    assert parser.feed("ture") == [Content('{"nature', 0)]
    parser = ToolCallParser(str, ["add"])
    assert parser.feed("```python\n") == []
    assert parser.feed("p") == [Content("```python\np", 0)]


def test_a_call_without_a_tag_that_breaks_off_is_broken() -> None:
    (broken,) = parse_answer('{"name": "add", "arguments": {"a": ', str, ["add"]).invalid_tool_calls
    assert (broken.name, broken.arguments, broken.source) == ("add", '{"a": ', '{"name": "add", "arguments": {"a": ')


@pytest.mark.parametrize(
    "body",
    [
        "{'name': 'add', 'arguments': {'a': b'x'}}",  # no JSON value
        "{'name': 'add', 'arguments': {'a': {1}}}",
        "{'name': 'add', 'arguments': {'a': open('x')}}",
        "{'name': 'add', 'arguments': [1]}",
        "{'name': 'add', 'arguments': {'a': '\\d'}}",
        "{'name': 'add', 'arguments': {'a': '" + "x" * 20_000 + "'}}",
        "[[" + ADD + "]]",
        "``" + "``" + ADD,
    ],
)
def test_what_is_neither_json_nor_a_dict_of_python_is_broken(body: str) -> None:
    parsed = parse_answer(f"<tool_call>{body}</tool_call>")
    assert parsed.tool_calls == []
    (broken,) = parsed.invalid_tool_calls
    assert broken.source == f"<tool_call>{body}</tool_call>"


def test_the_second_tool_call_of_a_list_may_be_broken() -> None:
    parsed = parse_answer(f'<tool_call>[{ADD}, {{"name": "now", "arguments": {{]</tool_call> So.')
    assert [call.name for call in parsed.tool_calls] == ["add"]
    (broken,) = parsed.invalid_tool_calls
    assert (broken.index, broken.name, broken.source) == (1, "now", '{"name": "now", "arguments": {]</tool_call>')
    assert parsed.content == "So."


@pytest.mark.parametrize("end", ["", "\n", "<tool_call>" + '{"name": "now"}'])
def test_a_whole_call_needs_no_closing_tag(end: str) -> None:
    tool_calls = parse_answer('<tool_call>{"name": "add", "arguments": {"a": 1}}' + end).tool_calls
    assert tool_calls[0].arguments == {"a": 1}
    assert len(tool_calls) == (2 if "now" in end else 1)


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
        ('{"name": "add", "arguments": {"a": x "b"}}', "add"),
        ('{"name": "add", "arguments": {}', "add"),
        ('{"arguments": {}} x', None),
        ('"add"', None),
        ("42", None),
        ("[" * 5000, None),
    ],
)
@pytest.mark.parametrize("close", ["</tool_call>", ""])
def test_a_broken_call_is_kept_as_it_was_written(body: str, name: str | None, close: str) -> None:
    parsed = parse_answer(f"So: <tool_call>{body}{close}")
    (broken,) = parsed.invalid_tool_calls
    assert (parsed.content, parsed.tool_calls) == ("So:", [])
    assert (broken.name, broken.source) == (name, f"<tool_call>{body}{close}")
    assert broken.error


@pytest.mark.parametrize(
    "tag", ["</tool_call>", "<tool_call>", "</tool_call></tool_call>", "<tool_call> x </tool_call>"]
)
@pytest.mark.parametrize("head", ['{"name": "add", "arguments": ', '{"id": 1, "name": "add", "arguments": '])
def test_a_tag_inside_a_string_belongs_to_the_string(tag: str, head: str) -> None:
    parsed = parse_answer(f'So: <tool_call>{head}{{"a": "x{tag}y", "b": "\\"{tag}"}}}}</tool_call> Done.')
    assert [(c.name, c.arguments) for c in parsed.tool_calls] == [("add", {"a": f"x{tag}y", "b": f'"{tag}'})]
    assert (parsed.content, parsed.invalid_tool_calls) == ("So: Done.", [])


def test_a_call_that_breaks_off_inside_a_string_ends_at_the_first_tag() -> None:
    cut = '<tool_call>{"name": "add", "arguments": {"a": "x'
    parsed = parse_answer(f"{cut}</tool_call> So. {written_tool_call('now', {})}")
    (broken,), (whole,) = parsed.invalid_tool_calls, parsed.tool_calls
    assert (broken.source, broken.arguments) == (f"{cut}</tool_call>", '{"a": "x')
    assert (whole.name, whole.index, parsed.content) == ("now", 1, "So.")
    parsed = parse_answer(f"{cut}\n{written_tool_call('now', {})}")
    assert [b.source for b in parsed.invalid_tool_calls] == [f"{cut}\n"]
    assert [c.name for c in parsed.tool_calls] == ["now"]


@pytest.mark.parametrize(
    ("after", "content"),
    [
        (" I look it up.", "I look it up."),
        ("\n\nI look it up: {}, 2 < 3.", "I look it up: {}, 2 < 3."),
        ("I </tool_call> see.", "I see."),
        ("</tool_call></tool_call>", "</tool_call>"),
        ("}", "}"),
        (' {"name": "now", "arguments": {}}', '{"name": "now", "arguments": {}}'),
        ("", ""),
    ],
)
def test_what_follows_the_first_json_value_is_text(after: str, content: str) -> None:
    parsed = parse_answer('<tool_call>\n{"name": "add", "arguments": {"a": 1}}' + after)
    assert [(c.name, c.arguments) for c in parsed.tool_calls] == [("add", {"a": 1})]
    assert (parsed.content, parsed.invalid_tool_calls) == (content, [])
    parser = ToolCallParser()
    pieces = [piece for char in '<tool_call>{"name": "add", "arguments": {}}' for piece in parser.feed(char)]
    assert isinstance(pieces[-1], ToolCall)  # given as soon as its JSON is whole
    pieces = [*(piece for char in after for piece in parser.feed(char)), *parser.flush()]
    assert "".join(piece.text for piece in pieces if isinstance(piece, Content)) == content


PIECES = [
    *("<", "<tool", "<tool_call>", "</tool_call>", " ", "\n", "Hi.", '"}', "{", "}", "[1]"),
    *(
        written_tool_call("add", {"a": '<b> "c" \\'}),
        written_tool_call("now", {}),
        '<tool_call>{"name": "add", "arguments": {"a": "',
    ),
    *('{"name": "now", "arguments": {}}', '<tool_call>{"name": "x"}', "[", "]", ", ", "```", "```json\n", "'"),
    "<tool_call>{'name': 'add', 'arguments': {'a': '<b>'}}</tool_call>",
    '<tool_call>[{"name": "now", "arguments": {}}, {"name": "x"}]</tool_call>',
    *(
        '"',
        "\\",
        '\\"',
        '{"a": "</tool_call>',
        ', "<tool_call>"',
        '<tool_call>{"name": "now", "arguments": {"a": "x</tool_call>"}}',
    ),
]
texts = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


@given(texts, st.lists(st.integers(0, 400), max_size=30), st.sampled_from([[], ["now", "add"]]))
def test_however_the_stream_is_cut_it_says_the_same(text: str, cuts: list[int], names: list[str]) -> None:
    parser = ToolCallParser(str, names)
    edges = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    pieces = [p for a, b in pairwise(edges) for p in parser.feed(text[a:b])] + parser.flush()
    whole = parse_answer(text, str, names)
    assert "".join(p.text for p in pieces if isinstance(p, Content)) == whole.content
    assert [p for p in pieces if isinstance(p, ToolCall)] == whole.tool_calls
    assert [p for p in pieces if isinstance(p, InvalidToolCall)] == whole.invalid_tool_calls
    for piece in pieces:
        if isinstance(piece, Content):
            assert text[piece.start : piece.start + len(piece.text)] == piece.text
    for call in whole.tool_calls:
        deltas = [p for p in pieces if isinstance(p, ToolCallDelta) and p.index == call.index]
        assert [d.name for d in deltas[:2]] == [call.name, None]
        assert json.loads("".join(d.arguments for d in deltas), strict=False) == call.arguments
    for broken in whole.invalid_tool_calls:
        written = "".join(p.arguments for p in pieces if isinstance(p, ToolCallDelta) and p.index == broken.index)
        assert written == broken.arguments
        assert broken.source in text


@given(texts)
def test_nothing_that_is_held_back_is_lost(text: str) -> None:
    parsed = parse_answer(text)
    assert len(parsed.content) <= len(text)
    if "<tool_call>" not in text:
        assert parsed.content == text


def test_a_stream_shows_text_and_arguments_as_soon_as_they_are_certain() -> None:
    parser = ToolCallParser()
    assert parser.feed("Wait <tool") == [Content("Wait", 0)]
    assert parser.feed('_call>{"name": "add", "arg') == []
    name, arguments = parser.feed('uments": {"a": "x')
    assert isinstance(name, ToolCallDelta)
    assert isinstance(arguments, ToolCallDelta)
    assert (name.name, name.arguments) == ("add", "")
    assert (arguments.name, arguments.arguments) == (None, '{"a": "x')
    assert [p.arguments for p in parser.feed("y</") if isinstance(p, ToolCallDelta)] == ["y"]


# -- the work


class Counted(str):
    """Text that counts the characters that are copied when it is appended to other text."""

    copied = 0

    def __radd__(self, other: str) -> str:
        Counted.copied += len(other)
        return other + str(self)


class CountingPattern:
    """A pattern that counts the characters that it reads."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern, self.read = pattern, 0

    def search(self, text: str, position: int = 0) -> re.Match[str] | None:
        found = self.pattern.search(text, position)
        self.read += (found.end() if found else len(text)) - position
        return found

    def match(self, text: str, position: int = 0) -> re.Match[str] | None:
        return self.pattern.match(text, position)  # a tag is short

    def fullmatch(self, text: str) -> re.Match[str] | None:
        self.read += len(text)
        return self.pattern.fullmatch(text)


OPENED = '<tool_call>{"name": "add", "arguments": {"a": "'
STREAMS = {  # how a stream begins, and what it repeats
    "text": ("", "x"),
    "space": ("", " "),
    "angle brackets": ("", "a < "),
    "arguments": (OPENED, "x"),
    "a name": ('<tool_call>{"name": "', "x"),
    "before the name": ('<tool_call>{"id": [1], "', "x"),
    "numbers": ('<tool_call>{"name": "add", "arguments": {"a": [', "1, "),
    "brackets": ('<tool_call>{"name": "add", "arguments": {"a": ', "["),
    "a broken call": ("<tool_call>add(", "x"),
    "closing tags in a string": (OPENED, "</tool_call>"),
    "opening tags in a string": (OPENED, "<tool_call>{"),
    "calls that break off": ("", OPENED + "</tool_call>" + OPENED),
    "calls that break off at an escape": ("", '<tool_call>{\\"</tool_call>'),
    "whole calls": ("", '<tool_call>{"name": "add", "arguments": {"a": "</tool_call>"}}</tool_call>\n'),
    "a long list": ("<tool_call>[", '{"name": "add", "arguments": {}}, '),
    "fences": ("", '<tool_call>```json\n{"name": "add", "arguments": {}}\n```</tool_call>'),
    "space after a fence": ('<tool_call>```{"name": "add", "arguments": {}}', " "),
    "space before the JSON": ("<tool_call>", "\n"),
    "dicts of Python": ("", "<tool_call>{'name': 'add', 'arguments': {'a': 1}}</tool_call>"),
    "doubled braces": ("<tool_call>", "{"),
    "unclosed calls": ("", '<tool_call>{"name": "add", "arguments": {}} so '),
}


@pytest.mark.parametrize("way", ["in characters", "at once"])
@pytest.mark.parametrize("stream", STREAMS)
def test_the_work_is_linear(stream: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    start, unit = STREAMS[stream]
    text = start + unit * ((1_000_000 if stream == "text" else 60_000) // len(unit))
    patterns: list[CountingPattern] = []
    for module, name in [
        *((tool_call, name) for name in ("TAG", "_HEAD", "_OUTSIDE_STRINGS", "_INSIDE_STRINGS")),
        (tool_parser, "TAG"),
    ]:
        patterns.append(CountingPattern(getattr(module, name)))
        monkeypatch.setattr(module, name, patterns[-1])
    bodies_read = 0
    loads = json.loads

    def counted_loads(body: str, **options: Any) -> Any:
        nonlocal bodies_read
        bodies_read += len(body)
        return loads(body, **options)

    monkeypatch.setattr(tool_call.json, "loads", counted_loads)
    Counted.copied = 0
    parser = ToolCallParser(str, ["add"])
    given = 0
    for part in text if way == "in characters" else [text]:
        given += sum(len(p.text) for p in parser.feed(Counted(part)) if isinstance(p, Content))
    given += sum(len(p.text) for p in parser.flush() if isinstance(p, Content))
    work = sum(pattern.read for pattern in patterns) + bodies_read + Counted.copied
    assert work <= 40 * len(text)
    assert given <= len(text)
