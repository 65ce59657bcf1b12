"""Tool calls and structured output: all three models as students, on every kind of engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_relay import ChatRelay
from relay_core import Engine, Relay
from relay_core.errors import ConfigurationError
from testing.real_engines import MODELS, Recorded

Say = Callable[[str, object], None]

pytestmark = pytest.mark.timeout(600)


@tool
def stock(item: Literal["tea", "coffee", "milk"], pieces: int) -> int:
    """Whether there are so many pieces of an item in stock."""
    return pieces


class Order(BaseModel):
    """What somebody wants to buy."""

    item: Literal["tea", "coffee", "milk"]
    pieces: int


SMALL = ("smollm2-135m", "gemma3-270m")
PAIRS = [(student, next(name for name in SMALL if name != student)) for student in MODELS]  # of two vocabularies


@pytest.mark.shows("forced tool call")
@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_a_forced_tool_call(trio: Mapping[str, Engine], student: str, teacher: str, record_property: Say) -> None:
    chat = ChatRelay(relay=Relay(trio[student], trio[teacher]), max_tokens=60)
    bound = chat.bind_tools([stock], tool_choice="any", parallel_tool_calls=False)
    message = bound.invoke("Are 4 pieces of tea in stock?")
    assert isinstance(message, AIMessage)
    if trio[student].constrains or student.startswith("qwen"):
        check_call(message)
    else:  # the model writes a call or a broken one, and each is named for what it is
        record_property("cell", "as the model writes it")
        assert message.tool_calls or message.invalid_tool_calls


def check_call(message: AIMessage) -> None:
    """The one tool call is valid by its schema."""
    [call] = message.tool_calls
    assert call["name"] == "stock"
    order = Order.model_validate(call["args"])
    assert set(call["args"]) == {"item", "pieces"}
    assert order.pieces == call["args"]["pieces"]


@pytest.mark.shows("json_schema")
@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_an_answer_under_a_schema(trio: Mapping[str, Engine], student: str, teacher: str, record_property: Say) -> None:
    chat = ChatRelay(relay=Relay(trio[student], trio[teacher]), max_tokens=90)
    structured = chat.with_structured_output(Order, method="json_schema")
    question = "I want 4 pieces of tea."
    if trio[student].constrains:
        order = structured.invoke(question, max_tokens=90)
        assert isinstance(order, Order)
    else:
        record_property("cell", "refused")
        with pytest.raises(ConfigurationError, match="function_calling"):
            structured.invoke(question)


@pytest.mark.shows("tool of a template that knows none")
@pytest.mark.parametrize("student", SMALL)
def test_a_template_without_tools_shows_them_and_says_so(trio: Mapping[str, Engine], student: str) -> None:
    asked = Recorded(trio[student])
    chat = ChatRelay(relay=Relay(asked, None), max_tokens=8).bind_tools([stock])
    message = chat.invoke("Is there tea?")
    prompt = asked.requests[0][0]
    assert "stock" in prompt.text, "the tool stands in the prompt as text"
    assert "pieces" in prompt.text
    notes = message.response_metadata["relay"]["notes"]
    assert any("tool" in str(note) for note in notes.items()), notes
