"""An answer that ``max_tokens`` cuts is an error that says so, however LangChain parses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, StructuredOutputValidationError, ToolStrategy
from langchain_core.exceptions import OutputParserException
from langgraph.errors import GraphRecursionError
from pydantic import BaseModel, RootModel
from typing_extensions import TypedDict

from langchain_relay import ChatRelay
from relay_core import Finish, Prompt, ScriptedEngine

Make = Callable[..., ScriptedEngine]
CUT = "max_tokens=40 cut it .*: raise max_tokens, or bound the schema's fields"


class Order(BaseModel):
    """What somebody wants. Every beginning of its JSON is a whole order for a parser that closes brackets."""

    item: str = "tea"
    number: int = 1


class OrderDict(TypedDict, total=False):
    """What somebody wants."""

    item: str
    number: int


SCHEMAS = [Order, OrderDict, Order.model_json_schema() | {"description": "What somebody wants."}]
METHODS = ["json_schema", "json_mode", "function_calling"]


def endless(prompt: Prompt) -> str:
    """A number that only the limit ends, in the form that the prompt asks for."""
    if prompt.continuation.startswith("<tool_call>"):
        return ' {"item": "coffee", "number": 1' + "2" * 500
    if prompt.continuation == "{":
        return '"item": "coffee", "number": 1' + "2" * 500
    return '{"item": "coffee", "number": 1' + "2" * 500 if "as JSON" in prompt.text else "One coffee."


def cut_chat(scripted: Make, script: Any = endless, **settings: Any) -> ChatRelay:
    return ChatRelay(**{"student": scripted(script, constrains=True), "teacher": None, "max_tokens": 40, **settings})


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("method", METHODS)
async def test_a_cut_answer_is_an_error_that_names_the_limit(scripted: Make, method: Any, schema: Any) -> None:
    chat = cut_chat(scripted).with_structured_output(schema, method=method)
    with pytest.raises(OutputParserException, match=CUT):
        chat.invoke("?")
    with pytest.raises(OutputParserException, match=CUT):
        await chat.ainvoke("?")
    (failed,) = chat.batch(["?"], return_exceptions=True)
    assert isinstance(failed, OutputParserException)
    with pytest.raises(OutputParserException, match=CUT):
        list(chat.stream("?"))
    with pytest.raises(OutputParserException, match=CUT):
        [part async for part in chat.astream("?")]


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("method", METHODS)
async def test_with_the_raw_answer_it_is_the_parsing_error(scripted: Make, method: Any, schema: Any) -> None:
    chat = cut_chat(scripted).with_structured_output(schema, method=method, include_raw=True, strict=True)
    streamed: dict[str, Any] = {}
    for part in chat.stream("?"):
        streamed |= part
    for answer in (chat.invoke("?"), await chat.ainvoke("?"), *chat.batch(["?"]), streamed):
        assert answer["parsed"] is None
        assert isinstance(answer["parsing_error"], OutputParserException)
        assert "max_tokens=40 cut it" in str(answer["parsing_error"])
    relay = chat.invoke("?")["raw"].response_metadata["relay"]
    assert relay["cut_by"] == "max_tokens=40"


def test_objects_that_stream_may_be_partial(scripted: Make) -> None:
    parts: list[Any] = []
    with pytest.raises(OutputParserException, match=CUT):
        parts.extend(cut_chat(scripted).with_structured_output(OrderDict, method="json_schema").stream("?"))
    chat = cut_chat(scripted, lambda p: endless(p)[:40] + "}" if "as JSON" in p.text else "Coffee.", max_tokens=99)
    *parts, last = chat.with_structured_output(OrderDict, method="json_schema").stream("?")
    assert {"item": "coffee"} in parts
    assert last["number"] > 1_000_000_000


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ([Finish.LENGTH], "max_tokens=40 .or the model's context. cut it .*raise max_tokens"),
        ([], "broken or incomplete"),
    ],
)
def test_other_ends_of_half_an_object(scripted: Make, script: list[Any], message: str) -> None:
    """The context of the model may be full, and a model may end its answer itself."""
    chat = cut_chat(scripted, [['"item": "tea", "number": 2', *script]]).with_structured_output(
        None, method="json_mode"
    )
    with pytest.raises(OutputParserException, match=message):
        chat.invoke("?")


def test_a_number_alone_may_have_lost_digits(scripted: Make) -> None:
    chat = cut_chat(scripted, lambda prompt: "7" * 500 if "as JSON" in prompt.text else "Seven.")
    with pytest.raises(OutputParserException, match="max_tokens=40 cut it, perhaps inside a number"):
        chat.with_structured_output(RootModel[int], method="json_schema").invoke("?")


@pytest.mark.parametrize("end", ["}", "}\n```\nThat is all. {", "} and so on" + " and on" * 99])
def test_whole_json_is_whole_whatever_follows_it(scripted: Make, end: str) -> None:
    chat = cut_chat(scripted, '"item": "two\nlines"' + end).with_structured_output(Order, method="json_mode")
    assert chat.invoke("?") == Order(item="two\nlines")
    assert list(chat.stream("?"))[-1] == Order(item="two\nlines")


def test_a_whole_tool_call_is_not_cut(scripted: Make) -> None:
    call = ' {"item": "coffee"}}\n</tool_call>' + " and on" * 99
    chat = cut_chat(scripted, call)
    assert chat.with_structured_output(Order).invoke("?") == Order(item="coffee")
    message = chat.bind_tools([Order], tool_choice="Order").invoke("?")
    assert message.tool_calls[0]["args"] == {"item": "coffee"}
    assert message.response_metadata["relay"]["cut_by"] == "max_tokens=40"


def stock(item: str) -> int:
    """How many of an item are in stock."""
    return len(item)


def test_an_agent_takes_no_cut_answer_either(scripted: Make) -> None:
    """LangChain's agents parse the answers themselves."""
    chat = cut_chat(scripted)
    question = {"messages": [("human", "?")]}
    by_schema = create_agent(chat, [], response_format=ProviderStrategy(Order))
    with pytest.raises(StructuredOutputValidationError):
        by_schema.invoke(question)
    with pytest.raises(GraphRecursionError):
        create_agent(chat, [], response_format=ToolStrategy(Order)).invoke(question, {"recursion_limit": 5})
    state = create_agent(chat, [stock], response_format=ToolStrategy(Order)).invoke(question, {"recursion_limit": 5})
    assert state["structured_response"] is None
    assert state["messages"][-1].response_metadata["relay"]["cut_by"] == "max_tokens=40"
