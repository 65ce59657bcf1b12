from __future__ import annotations

from typing import Any

import pytest

from relay_core import ConfigurationError, Constraint, Sampling
from relay_core.constraint import CallableTool, Kind, ToolCall

CALL = ToolCall((CallableTool("now", {}),), is_named=True)
VALUES = {"json_schema": {"type": "object"}, "regex": "a+", "choice": ("a", "b"), "tool_call": CALL}


@pytest.mark.parametrize("name", VALUES)
def test_a_constraint_is_a_field_of_a_sampling_and_back(name: str) -> None:
    constraint = Constraint(Kind(name), VALUES[name])
    sampling = Sampling(9, **constraint.fields("a"))
    assert getattr(sampling, name) == VALUES[name]
    assert sampling.begun == "a"
    assert Constraint.of(sampling) == constraint


def test_a_sampling_without_one_has_none() -> None:
    assert Constraint.of(Sampling(9)) is None


def test_the_short_forms() -> None:
    assert Constraint.json_schema(VALUES["json_schema"]) == Constraint(Kind.JSON_SCHEMA, VALUES["json_schema"])
    assert Constraint.regex("a+") == Constraint(Kind.REGEX, "a+")
    assert Constraint.choice("a", "b") == Constraint(Kind.CHOICE, ("a", "b"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("json_schema", "{}"),
        ("json_schema", True),
        ("regex", ""),
        ("regex", 3),
        ("choice", ()),
        ("choice", ("a", "")),
        ("choice", ("a", "a")),
        ("choice", ["a"]),
        ("choice", "ab"),
        ("tool_call", {"name": "now"}),
        ("tool_call", ToolCall((), is_named=False)),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: Any) -> None:
    for make in (lambda: Constraint(Kind(name), value), lambda: Sampling(9, **{name: value})):
        with pytest.raises(ConfigurationError, match=rf"^{name} is .*: write "):
            make()


def test_constraints_exclude_each_other() -> None:
    with pytest.raises(ConfigurationError, match="json_schema and regex exclude each other"):
        Sampling(9, json_schema={}, regex="a")


@pytest.mark.parametrize("sampling", [{"begun": "a"}, {"begun": None, "regex": "a"}])
def test_a_text_that_has_begun_needs_a_constraint(sampling: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="begun"):
        Sampling(9, **sampling)
