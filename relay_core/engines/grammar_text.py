"""Writes constraints in the formats of the libraries for constrained decoding: JSON schemas, and tool calls in Lark.

llguidance (``TransformersEngine``) and vLLM's backends read the same variant of Lark, with ``%json`` for a schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from relay_core.constraint import Constraint, Kind, ToolCall
from relay_core.tools import TOOL_CALL_CLOSE

#: The white space of JSON: at most one space after a colon or comma. Without this limit, a small sampled model may
#: write endless white space wherever JSON allows it.
SPACING = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}
_FORMATS = frozenset("date-time time date duration email hostname ipv4 ipv6 uuid uri".split())
_APPLICATORS = ("allOf", "anyOf", "oneOf", "$ref", "if", "patternProperties")


def prepared_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A stricter version of ``schema`` for decoding; every text that follows it also follows ``schema``, except for
    formats.

    Unless the schema says otherwise, an object may have only the properties that its schema names, because a small
    model would invent further properties. Formats that llguidance cannot check are left out, since JSON Schema
    (2020-12, section 7.2.1) treats formats as annotations.
    """
    closes_objects = not _has_intersection(schema)  # a closed object has no intersection with another one
    prepared: dict[str, Any] = _prepared(schema, closes_objects=closes_objects)
    return prepared


def _has_intersection(value: Any) -> bool:
    if isinstance(value, Mapping):
        branches = value.get("allOf")
        is_intersection = isinstance(branches, list) and len(branches) > 1
        return is_intersection or any(_has_intersection(item) for item in value.values())
    return isinstance(value, list) and any(_has_intersection(item) for item in value)


def _prepared(schema: Any, *, closes_objects: bool) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    prepared: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs", "definitions", "patternProperties") and isinstance(value, Mapping):
            prepared[key] = {name: _prepared(inner, closes_objects=closes_objects) for name, inner in value.items()}
        elif key in ("const", "enum", "default", "examples"):
            prepared[key] = value
        elif key != "format" or value in _FORMATS:
            is_list = isinstance(value, list | tuple)
            items = [_prepared(item, closes_objects=closes_objects) for item in value] if is_list else None
            prepared[key] = _prepared(value, closes_objects=closes_objects) if items is None else items
    is_closed = "additionalProperties" in schema or any(key in schema for key in _APPLICATORS)
    if closes_objects and isinstance(schema.get("properties"), Mapping) and not is_closed:
        prepared["additionalProperties"] = False
    return prepared


def closing_tag(token_id: int | None) -> str:
    """The end of a tool call in Lark; ``token_id`` is the tag's id if llguidance takes it for a control token."""
    tag = _quoted(TOOL_CALL_CLOSE)
    return f'"\\n" {tag}' if token_id is None else f'"\\n" ({tag} | <[{token_id}]>)'


def tool_call_grammar(call: ToolCall, closing: str = "") -> str:
    """A Lark grammar of what follows ``tools.forced_prefix``.

    Args:
        call: the forced tool call.
        closing: the Lark text that :func:`closing_tag` returns; with ``""``, the text ends with the JSON.
    """
    rules = [f"start: {' | '.join(f'call_{i}' for i in range(len(call.tools)))}"]
    for i, tool in enumerate(call.tools):
        name = json.dumps(tool.name, ensure_ascii=False)[1:-1]
        head = "" if call.is_named else _quoted(f'{name}", "arguments":')
        schema = {"x-guidance": {**SPACING, "lenient": not tool.strict}, **prepared_schema(tool.parameters)}
        rules += [
            f'call_{i}: {head} " "? arguments_{i} "}}" {closing}',
            f"arguments_{i}: %json {json_text(schema)}",
        ]
    return "\n".join(rules) + "\n"


def structured_outputs(constraint: Constraint, *, by_guidance: bool = False) -> dict[str, Any]:
    """A constraint as vLLM takes it: the arguments of its ``StructuredOutputsParams``, and the server's field.

    Args:
        constraint: the constraint.
        by_guidance: whether vLLM is known to use llguidance; a schema is then taken as ``TransformersEngine`` takes it.
    """
    if constraint.kind is Kind.TOOL_CALL:  # without the tag: llguidance fails at a text that is one control token
        return {"grammar": tool_call_grammar(constraint.value)}
    if constraint.kind is Kind.JSON_SCHEMA:
        schema = constraint.value
        return {"json": {"x-guidance": SPACING, **prepared_schema(schema)} if by_guidance else dict(schema)}
    return {str(constraint.kind): list(constraint.value) if constraint.kind is Kind.CHOICE else constraint.value}


def choice_grammar(texts: tuple[str, ...]) -> str:
    """A Lark grammar of a choice."""
    return f"start: {' | '.join(map(_quoted, texts))}\n"


def json_text(value: Any) -> str:
    """``value`` as JSON; tuples become arrays, and mappings of any class become objects."""
    return json.dumps(value, ensure_ascii=False, default=dict)


def _quoted(text: str) -> str:
    """``text`` as a literal of Lark, which has the form of a JSON string."""
    return json.dumps(text, ensure_ascii=False)
