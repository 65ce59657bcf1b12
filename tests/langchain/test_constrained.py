"""Structured output and forced tool calls where the models run in this process: valid whatever the model writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from langchain_relay import ChatRelay
from relay_core import ConfigurationError, Relay, ScriptedEngine, TransformersEngine, bundled, portal


class Order(BaseModel):
    """What somebody wants to buy."""

    item: Literal["tea", "coffee", "käse"]
    pieces: int = Field(ge=1, le=99)
    note: str = Field(max_length=8)


class Numbers(BaseModel):
    """Numbers that differ."""

    of: list[Literal[1, 2]] = Field(max_length=2, json_schema_extra={"uniqueItems": True})


@tool
def stock(item: Literal["tea", "coffee"], pieces: Literal[1, 2, 3]) -> int:
    """Whether there are so many pieces."""
    return pieces


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    """The bundled pair, which knows nothing of tools and JSON."""
    engines = [TransformersEngine(bundled.path(name)) for name in ("student-relay", "teacher")]
    yield Relay(*engines)
    for engine in engines:
        portal.run(engine.aclose)


@pytest.fixture
def chat(relay: Relay) -> ChatRelay:
    return ChatRelay(relay=relay, temperature=1.0, teacher_temperature=1.0, max_tokens=200, warming="off")


@pytest.mark.parametrize("options", [
    {"method": "json_schema"},
    {"method": "json_schema", "strict": True},
    {"method": "json_schema", "structured_by": "teacher"},
    {"method": "function_calling"},
    {"method": "function_calling", "strict": True},
    {"method": "function_calling", "trigger": "chance:0.2,3"},
], ids=str)  # fmt: skip
def test_every_answer_is_an_object_of_the_class(chat: ChatRelay, options: dict[str, Any]) -> None:
    for seed in range(8):
        seeded = chat.model_copy(update={"seed": seed})
        assert isinstance(seeded.with_structured_output(Order, **options).invoke("What is 7 * 6?"), Order)


@pytest.mark.parametrize("choice", ["any", "stock"])
@pytest.mark.parametrize("strict", [None, True])
def test_a_forced_tool_call_has_valid_arguments(chat: ChatRelay, choice: str, strict: bool | None) -> None:
    for message in chat.bind_tools([stock, Order], tool_choice=choice, strict=strict).batch(["What is 7 * 6?"] * 8):
        assert (message.content, message.invalid_tool_calls) == ("", [])
        [call] = message.tool_calls
        kind = {"stock": stock.args_schema, "Order": Order}[call["name"]]
        kind.model_validate(call["args"])  # type: ignore[union-attr]


def test_the_objects_grow_while_they_stream(chat: ChatRelay) -> None:
    *_, last = chat.with_structured_output(Order, method="function_calling").stream("What is 7 * 6?")
    assert isinstance(last, Order)


def test_a_schema_that_cannot_be_taken_is_refused_before_the_answer(relay: Relay) -> None:
    student = ScriptedEngine("An answer.", record=True)
    chat = ChatRelay(student=student, teacher=relay.teacher, structured_by="teacher")
    with pytest.raises(ConfigurationError, match="uniqueItems"):
        chat.with_structured_output(Numbers, method="json_schema").invoke("?")
    assert not student.requests


def test_a_strict_tool_that_cannot_be_taken_is_refused(chat: ChatRelay) -> None:
    with pytest.raises(ConfigurationError, match="uniqueItems"):
        chat.with_structured_output(Numbers, strict=True).invoke("?")


def test_a_tool_that_is_not_strict_is_held_to_what_can_be_taken(chat: ChatRelay) -> None:
    assert isinstance(chat.with_structured_output(Numbers).invoke("?"), Numbers)
