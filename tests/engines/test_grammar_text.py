from __future__ import annotations

from typing import Any

import pytest

from relay_core import Constraint
from relay_core.constraint import Kind
from relay_core.engines.grammar_text import closing_tag, prepared_schema, structured_outputs, tool_call_grammar
from relay_core.tools import offer

CLOSED = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
OPEN = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("schema", "prepared"),
    [
        (OPEN, CLOSED),
        ({**OPEN, "additionalProperties": True}, {**OPEN, "additionalProperties": True}),
        ({"type": "array", "items": OPEN}, {"type": "array", "items": CLOSED}),
        ({"anyOf": [OPEN, {"type": "null"}]}, {"anyOf": [CLOSED, {"type": "null"}]}),
        ({"$defs": {"x": OPEN}, "$ref": "#/$defs/x"}, {"$defs": {"x": CLOSED}, "$ref": "#/$defs/x"}),
        ({"allOf": [OPEN]}, {"allOf": [CLOSED]}),
        ({"allOf": [OPEN, {"properties": {"b": {}}}]}, {"allOf": [OPEN, {"properties": {"b": {}}}]}),
        ({"type": "object"}, {"type": "object"}),
        ({"type": "string", "format": "password"}, {"type": "string"}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"properties": {"format": {"const": {"format": "x"}}}, "additionalProperties": {}},) * 2,  # names and values
        ({"enum": [{"properties": {}}]}, {"enum": [{"properties": {}}]}),
    ],
)  # fmt: skip
def test_objects_are_closed_and_formats_that_cannot_be_checked_left_out(
    schema: dict[str, Any], prepared: dict[str, Any]
) -> None:
    assert prepared_schema(schema) == prepared


def test_vllm_gets_each_kind_under_its_name_there() -> None:
    assert structured_outputs(Constraint.json_schema(OPEN)) == {"json": OPEN}
    assert structured_outputs(Constraint.regex("a+")) == {"regex": "a+"}
    assert structured_outputs(Constraint.choice("a", "b")) == {"choice": ["a", "b"]}
    call = offer([{"name": "now", "parameters": {}}], "now").constraint
    assert call is not None
    assert structured_outputs(call) == {"grammar": tool_call_grammar(call.value)}


def test_a_tool_call_of_any_tool_begins_with_its_name() -> None:
    tools = [{"name": 'a"b', "strict": True, "parameters": OPEN}, {"name": "now"}]
    constraint = offer(tools, "any").constraint
    assert constraint is not None
    assert constraint.kind is Kind.TOOL_CALL
    grammar = tool_call_grammar(constraint.value, closing_tag(77))
    first, second = (line for line in grammar.splitlines() if line.startswith("call_"))
    assert first.startswith(r'call_0: "a\\\"b\", \"arguments\":" " "? arguments_0 ')
    assert second.endswith('"}" "\\n" ("</tool_call>" | <[77]>)')
    assert '"lenient": false' in grammar
    assert '"lenient": true' in grammar
