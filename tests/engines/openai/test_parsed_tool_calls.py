"""What a server delivered as a tool call arrives as that call."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.engines.openai.event_reader import EventReader
from relay_core.engines.openai.faults import Fault
from relay_core.engines.openai.protocol import Mode
from relay_core.tool_parser import ParsedAnswer, parse_answer

Choice = dict[str, Any]


def call(
    arguments: Any, name: str | None = None, *, index: int | None = 0, id: Any = None, **more: Any
) -> Choice:  # fmt: skip
    """A choice with one delta of a tool call."""
    delta = {"index": index, "id": id, "function": {"name": name, "arguments": arguments}, **more}
    return {"delta": {"tool_calls": [{key: value for key, value in delta.items() if value is not None}]}}


def text_of(choices: Iterable[Choice], reason: str = "tool_calls") -> str:
    """The text of a response with these choices."""
    reader = EventReader(Mode.CHAT, None, [])
    chunks = [reader.read({"choices": [choice]}) for choice in [*choices, {"delta": {}, "finish_reason": reason}]]
    return "".join(token.text for chunk in [*chunks, reader.end(is_done=True)] for token in chunk.tokens)


def parsed(choices: Iterable[Choice], reason: str = "tool_calls") -> ParsedAnswer:
    return parse_answer(text_of(choices, reason))


def calls(answer: ParsedAnswer) -> list[tuple[str, Any]]:
    assert not answer.invalid_tool_calls
    return [(each.name, each.arguments) for each in answer.tool_calls]


TEA, PEN = {"item": "tea"}, {"item": "pen"}
T, P = json.dumps(TEA), json.dumps(PEN)
BOTH = call(T, "price")["delta"]["tool_calls"] + call(P, "stock")["delta"]["tool_calls"]


def test_content_and_calls_in_parts() -> None:
    answer = parsed(
        [
            {"delta": {"content": "I look. "}},
            call("", "price"),
            call('{"item": '),
            call('"tea"}'),
            call(P, "stock", index=1),
        ]
    )
    assert answer.content.strip() == "I look."
    assert calls(answer) == [("price", TEA), ("stock", PEN)]


@pytest.mark.parametrize(
    "choices",
    [
        [call(T, "price", id="a"), call(P, "stock", id="b")],  # both say index 0
        [call(T, "price", id="a"), call(P, "stock", id="b", index=None)],
        [call(T, "price", index=None), call(P, "stock", index=None)],
        [call("", "price", id="a"), call(T), call("", "stock", id="b"), call(P)],
        [call("", "price", id="a"), call(T, id="a"), call("", "stock", id="b"), call(P, id="b")],
        [call(T, "price"), call(P, "stock")],
        [call(TEA, "price"), call(PEN, "stock", index=1)],  # an object
        [call("", "price"), call(TEA), call(None, "stock", index=1), call(PEN, index=1)],
        # interleaved
        [call("", "price"), call("", "stock", index=1), call(P[:5], index=1), call(T[:4]), call(P[5:], index=1),
         call(T[4:])],
        # the name and the id in every delta
        [call(T[:4], "price", id="a"), call(T[4:], "price", id="a"), call(P[:4], "stock", id="b"),
         call(P[4:], "stock", id="b")],
        [call(T[:4], "price"), call(T[4:], "price"), call(P, "stock", index=1)],
        # all of the arguments again at the end
        [call(T[:4], "price", id="a"), call(T[4:]), call(T, "price", id="a"), call(P, "stock", index=1, id="b"),
         call(T, "price", id="a"), call(" ")],
        # an id of its own in every delta
        [call(T[:4], "price", id="a"), call(T[4:], id="b"), call(P, "stock", id="c")],
        [call(T, "price", id=""), call(P, "stock", id="")],
        [call(T, "price", id=1), call(P, "stock", id=2)],
        [{"delta": {"tool_calls": BOTH}}],
        [{"message": {"tool_calls": BOTH}}],
        [call("\n" + T + "\n", "price"), call(P, "stock", index=1)],
        [call(json.dumps(T), "price"), call(P, "stock", index=1)],  # JSON in JSON
        [{"delta": {"function_call": {"name": "price", "arguments": T[:5]}}},
         {"delta": {"function_call": {"arguments": T[5:]}}}, call(P, "stock")],
    ],
)  # fmt: skip
def test_two_calls_in_every_spelling(choices: list[Choice]) -> None:
    assert calls(parsed(choices)) == [("price", TEA), ("stock", PEN)]


@pytest.mark.parametrize("second", [call(P, "price"), call(P, "price", id="b"), call(P, "price", index=1)])
def test_the_same_tool_twice(second: Choice) -> None:
    assert calls(parsed([call(T, "price"), second])) == [("price", TEA), ("price", PEN)]
    assert calls(parsed([call(T, "price", id="x"), call(P, "price", id="x")])) == [("price", TEA), ("price", PEN)]
    assert calls(parsed([call(T, "price", id="x"), call(T, "price", id="y")])) == [("price", TEA), ("price", TEA)]


@pytest.mark.parametrize("arguments", ["", None, {}, [], "{}", " ", "null"])
def test_a_call_without_arguments(arguments: Any) -> None:
    assert calls(parsed([call(arguments, "now", id="a"), call(arguments, "now", id="b")])) == [("now", {})] * 2
    assert calls(parsed([{"delta": {"function_call": {"name": "now", "arguments": arguments}}}])) == [("now", {})]


def test_content_does_not_fall_into_a_call() -> None:
    answer = parsed(
        [call(T[:4], "price"), {"delta": {"content": "Wait."}}, call(T[4:]), {"delta": {"content": " Now."}}]
    )
    assert (calls(answer), answer.content) == ([("price", TEA)], "Wait. Now.")
    answer = parsed([call(T, "price"), {"delta": {"content": "Then"}}, call(P, "stock", index=1)])
    assert (calls(answer), answer.content) == ([("price", TEA), ("stock", PEN)], "Then")


def test_a_call_that_the_length_limit_cuts_stays_open() -> None:
    assert text_of([call('{"item": ', "price")], "length") == '<tool_call>\n{"name": "price", "arguments": {"item": '
    assert calls(parsed([call(T, "price")], "length")) == [("price", TEA)], "it is whole"
    answer = parsed([call(T, "price"), call('{"item', "stock", index=1)], "length")
    assert [each.name for each in answer.tool_calls] == ["price"]
    assert [each.name for each in answer.invalid_tool_calls] == ["stock"]


def test_arguments_are_passed_on_as_they_come() -> None:
    reader = EventReader(Mode.CHAT, None, [])
    texts = [
        "".join(t.text for t in reader.read({"choices": [choice]}).tokens) for choice in (call(T[:4], "a"), call(T[4:]))
    ]
    assert texts == ['<tool_call>\n{"name": "a", "arguments": {"it', 'em": "tea"}']
    tokens = reader.end(is_done=True).tokens
    assert [token.text for token in tokens] == ["}\n</tool_call>"]
    assert all(token.is_tool_call for token in tokens)


@pytest.mark.parametrize(
    "tool_calls",
    ["x", [1], [{}], [None], [{"function": {"name": "a", "arguments": 1}}], {"a": 1}, 3, [{"function": "f"}],
     [{"function": {"name": 7}}], [{"function": {"name": "a", "arguments": [1]}}], [{"function": {"name": ""}}]],
)  # fmt: skip
def test_malformed_tool_calls_are_a_fault(tool_calls: Any) -> None:
    with pytest.raises(Fault, match="malformed tool calls"):
        EventReader(Mode.CHAT, None, []).read({"choices": [{"delta": {"tool_calls": tool_calls}}]})


def test_calls_without_number_are_a_fault() -> None:
    with pytest.raises(Fault, match="more than 1000"):
        text_of(call(T, "a", index=i) for i in range(2000))


STRINGS = st.text(max_size=8) | st.sampled_from(
    [
        "</tool_call>",
        "<tool_call>",
        "<call>9</call>",
        "</call>",
        "<|im_end|>",
        "<",
        '"}',
        "\\<",
        "\ud800",
        "\\",
        "{[",
        "]}",
    ]
)
JSON = st.dictionaries(
    STRINGS,
    st.recursive(
        STRINGS | st.integers() | st.booleans() | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STRINGS, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)

NAMES = st.text(min_size=1, max_size=8).filter(str.strip) | st.just("</tool_call>")


@given(
    st.lists(st.tuples(NAMES, JSON), min_size=1, max_size=4),
    st.booleans(), st.booleans(), st.sampled_from(["id", "index", "both"]), st.data(),
)  # fmt: skip
def test_any_call_arrives_as_that_call(
    expected: list[tuple[str, Any]], ascii_only: bool, as_object: bool, known_by: str, data: Any
) -> None:
    choices: list[Choice] = []
    for i, (name, arguments) in enumerate(expected):
        text = json.dumps(arguments, ensure_ascii=ascii_only)
        ids = {"index": 0 if known_by == "id" else i, "id": None if known_by == "index" else f"call_{i}"}
        if as_object:
            choices.append(call(arguments, name, **ids))
            continue
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=3)))
        edges = [0, *cuts, len(text)]
        parts = [text[a:b] for a, b in itertools.pairwise(edges)]
        choices += [
            call(part, name if not k else None, **{**ids, "id": ids["id"] if not k else None})
            for k, part in enumerate(parts)
        ]
    repaired = json.loads(json.dumps(expected).encode("utf-8").decode(), strict=False)
    got = [[name, arguments] for name, arguments in calls(parsed(choices))]
    assert _without_surrogates(got) == _without_surrogates(repaired)


def _without_surrogates(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode().replace("\ufffd", "?")
