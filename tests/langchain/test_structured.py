from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from langchain_relay import ChatRelay
from relay_core import ConfigurationError, Prompt, ScriptedEngine

Make = Callable[..., ScriptedEngine]
QUESTION = "What does the 'tea' cost? It costs 7 euros."


class Price(BaseModel):
    """What an item costs."""

    item: str = Field(description="the item")
    euros: int


class PriceDict(TypedDict):
    """What an item costs."""

    item: str
    euros: int


PRICE = Price(item="tea", euros=7)
AS_DICT = PRICE.model_dump()


@pytest.mark.parametrize(
    ("schema", "expected"), [(Price, PRICE), (PriceDict, AS_DICT), (Price.model_json_schema(), AS_DICT)]
)
@pytest.mark.parametrize("include_raw", [True, False])
def test_by_a_tool(follower: ScriptedEngine, schema: Any, expected: Any, include_raw: bool) -> None:
    chat = ChatRelay(student=follower, teacher=None).with_structured_output(schema, include_raw=include_raw)
    answer = chat.invoke(QUESTION)
    if include_raw:
        assert isinstance(answer["raw"], AIMessage)
        assert answer["parsing_error"] is None
        answer = answer["parsed"]
    assert answer == expected
    assert follower.requests[0][0].continuation.startswith('<tool_call>\n{"name": "Price')
    assert "What an item costs." in follower.requests[0][0].text


def json_of(prompt: Prompt) -> str:
    assert prompt.continuation == "{"
    return '"item": "tea", "euros": 7}'


@pytest.mark.parametrize("include_raw", [True, False])
def test_json_mode_begins_with_a_brace(scripted: Make, include_raw: bool) -> None:
    model = ChatRelay(student=scripted(json_of), teacher=None)
    answer = model.with_structured_output(Price, method="json_mode", include_raw=include_raw).invoke(QUESTION)
    assert (answer["parsed"] if include_raw else answer) == PRICE
    plain = model.bind(response_format={"type": "json_object"})
    assert plain.invoke(QUESTION).content == '{"item": "tea", "euros": 7}'
    chunks = list(plain.stream(QUESTION))
    assert "".join(c.text for c in chunks) == '{"item": "tea", "euros": 7}'
    assert model.with_structured_output(None, method="json_mode").invoke(QUESTION) == AS_DICT


def constrained(prompt: Prompt) -> Any:
    return '{"item": "tea", "euros": 7}' if "as JSON" in prompt.text else "Tea costs 7 euros."


@pytest.mark.parametrize("by", ["student", "teacher"])
@pytest.mark.parametrize(("schema", "expected"), [(Price, PRICE), (PriceDict, AS_DICT)])
def test_by_constrained_decoding(scripted: Make, by: str, schema: Any, expected: Any) -> None:
    engines = {side: scripted(constrained, constrains=side == by, record=True) for side in ("student", "teacher")}
    model = ChatRelay(**engines)
    chat = model.with_structured_output(schema, method="json_schema", structured_by=by, include_raw=True)
    answer = chat.invoke(QUESTION)
    assert answer["parsed"] == expected
    relay = answer["raw"].response_metadata["relay"]
    assert relay["answer"] == "Tea costs 7 euros."
    assert relay["spans"] == [{"author": by, "start": 0, "end": len(answer["raw"].text)}]
    sampling = engines[by].requests[-1][1]
    assert sampling.json_schema is not None
    assert set(sampling.json_schema["properties"]) == {"item", "euros"}
    *_, last = ChatRelay(**engines, structured_by=by).with_structured_output(schema, method="json_schema").stream("?")
    assert last == expected


@pytest.mark.parametrize("max_tokens", [40, 1024, 4000])
def test_an_answer_without_end_leaves_tokens_for_its_json(scripted: Make, max_tokens: int) -> None:
    """Small models often go on until the limit; the answer then took all tokens, and there was no JSON."""

    def without_end(prompt: Prompt) -> str:
        return constrained(prompt) if "JSON" in prompt.text else "tea " * 5000

    student = scripted(without_end, constrains=True)
    chat = ChatRelay(student=student, teacher=None, max_tokens=max_tokens)
    answer = chat.with_structured_output(Price, method="json_schema", include_raw=True).invoke(QUESTION)
    assert answer["parsed"] == PRICE
    assert answer["raw"].usage_metadata["output_tokens"] <= max_tokens


class Endpoint(ScriptedEngine):
    """Such as an OpenAIEngine: what it can do is found out when it starts."""

    constrains = False

    async def start(self) -> None:
        self.constrains = "completions" not in self.spec


@pytest.mark.parametrize("ask", ["invoke", "stream"])
def test_an_endpoint_is_asked_what_it_can_do_before_it_is_paid(scripted: Make, ask: str) -> None:
    engine = Endpoint(constrained, scripted("").tokenizer, constrains=True, record=True)
    chat = ChatRelay(student=engine, teacher=None).with_structured_output(Price, method="json_schema")
    assert (chat.invoke(QUESTION) if ask == "invoke" else list(chat.stream(QUESTION))[-1]) == PRICE
    engine.spec, engine.constrains, engine.requests = "completions", True, []
    with pytest.raises(ConfigurationError, match="VLLMEngine and OpenAIEngine"):
        chat.invoke(QUESTION) if ask == "invoke" else list(chat.stream(QUESTION))
    assert engine.requests == []


def test_elsewhere_a_schema_is_refused_by_naming_engines_that_take_it(follower: ScriptedEngine) -> None:
    chat = ChatRelay(student=follower, teacher=None).with_structured_output(Price, method="json_schema")
    with pytest.raises(ConfigurationError, match="VLLMEngine and OpenAIEngine"):
        chat.invoke(QUESTION)
    assert follower.requests == []


def test_a_tool_call_comes_before_the_schema(scripted: Make) -> None:
    @tool
    def cost(item: str) -> int:
        """What an item costs."""
        return 7

    call = '<tool_call>\n{"name": "cost", "arguments": {"item": "tea"}}\n</tool_call>'
    model = ChatRelay(student=scripted(call, constrains=True), teacher=None)
    schema = {"type": "json_schema", "json_schema": {"name": "Price", "schema": Price.model_json_schema()}}
    message = model.bind_tools([cost], response_format=schema).invoke(QUESTION)
    assert message.tool_calls[0]["args"] == {"item": "tea"}
    assert message.content == ""


def test_an_answer_that_cannot_be_read(scripted: Make) -> None:
    model = ChatRelay(student=scripted("no"), teacher=None)
    chat = model.with_structured_output(Price, method="json_mode")
    with pytest.raises(OutputParserException):
        chat.invoke(QUESTION)
    raw = model.with_structured_output(Price, method="json_mode", include_raw=True).invoke(QUESTION)
    assert raw["parsed"] is None
    assert isinstance(raw["parsing_error"], OutputParserException)
    assert raw["raw"].content == "{no"


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [({"method": "xml"}, "function_calling, json_mode, json_schema"), ({"schema": None}, "schema")],
)
def test_what_cannot_be_structured_is_refused(follower: ScriptedEngine, kwargs: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ChatRelay(student=follower, teacher=None).with_structured_output(**{"schema": Price, **kwargs})


@pytest.mark.parametrize("wrong", [{"type": "xml"}, 3, {"type": "json_schema"}, "json_schema"])
def test_a_bad_response_format_is_refused(follower: ScriptedEngine, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="response_format"):
        ChatRelay(student=follower, teacher=None).invoke("hi", response_format=wrong)


SOUND = ' {"item": "tea", "euros": 7}}\n</tool_call>'
BROKEN = SOUND.replace("7}}", "")


@pytest.mark.parametrize("schema", [Price, PriceDict])
def test_a_broken_call_is_an_error_that_says_why(scripted: Make, schema: Any) -> None:
    chat = ChatRelay(student=scripted(BROKEN), teacher=None)
    structured = chat.with_structured_output(schema)
    with pytest.raises(OutputParserException, match="not JSON") as caught:
        structured.invoke(QUESTION)
    assert '"item": "tea"' in (caught.value.llm_output or "")
    with pytest.raises(OutputParserException, match="not JSON"):
        list(structured.stream(QUESTION))
    raw = chat.with_structured_output(schema, include_raw=True).invoke(QUESTION)
    assert raw["parsed"] is None
    assert isinstance(raw["parsing_error"], OutputParserException)
    sound = ChatRelay(student=scripted(SOUND), teacher=None).with_structured_output(schema)
    assert structured.with_fallbacks([sound]).invoke(QUESTION) == (PRICE if schema is Price else AS_DICT)
