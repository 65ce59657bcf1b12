"""The limit that cut an answer, and whether its JSON is whole."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from relay_core import FinishReason, Relay, RelaySettings, ScriptedEngine
from relay_core.adapters.cut_answers import cut_by, cut_message, whole_json
from relay_core.tool_parser import parse_answer
from relay_core.transcript import Author, Segment
from relay_core.usage import Usage

TEACHER = [Segment(Author.TEACHER, "{", (1,), (None,), 1)]
MOST = RelaySettings(max_tokens=60, max_teacher_tokens=9, deadline_s=1.5)


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({}, None),
        ({"finish_reason": FinishReason.STOP_STRING}, None),
        ({"finish_reason": FinishReason.DEADLINE}, "deadline_s=1.5"),
        ({"finish_reason": FinishReason.LENGTH, "usage": Usage(student_tokens=60)}, "max_tokens=60"),
        (
            {"finish_reason": FinishReason.LENGTH, "usage": Usage(student_tokens=9)},
            "max_tokens=60 (or the model's context)",
        ),
        (
            {"finish_reason": FinishReason.LENGTH, "usage": Usage(teacher_tokens=9), "segments": TEACHER},
            "max_teacher_tokens=9",
        ),
    ],
)
def test_the_limit_is_named_with_its_value(changes: dict[str, Any], limit: str | None) -> None:
    result = replace(Relay(ScriptedEngine("Yes."), None).generate("Hi"), **changes)
    assert cut_by(result, MOST) == limit
    if limit is not None:
        assert f": raise {limit.partition('=')[0]}, or bound" in cut_message(limit, "it")


@pytest.mark.parametrize("text", ['{"a": [1, "}"]}', "7", ' {"a": "x\ny"} and more', "[]"])
def test_every_beginning_of_an_object_is_refused(text: str) -> None:
    value = whole_json(text)
    assert value == whole_json(text + " {")
    end = text.rfind("}")
    for length in range(end):
        with pytest.raises(json.JSONDecodeError):
            whole_json(text[:length])


def test_json_nested_too_deeply_is_refused() -> None:
    with pytest.raises(json.JSONDecodeError, match="nested too deeply"):
        whole_json("[" * 100_000)


@pytest.mark.parametrize(
    ("body", "is_cut"),
    [
        ('{"name": "now", "arguments": {"a": "x', True),
        ('{"name": "now", "arg', True),
        ('{"name": "now", "arguments": {"a": }}', False),
        ('{"name": "now", "arguments": {"a": "x</tool_call>', False),
    ],
)
def test_a_tool_call_is_cut_where_the_text_ends_before_its_json(body: str, is_cut: bool) -> None:
    (invalid,) = parse_answer(f"<tool_call>\n{body}").invalid_tool_calls
    assert invalid.is_cut is is_cut
