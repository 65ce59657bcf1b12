"""Tools chosen and forced, and answers as objects."""

from __future__ import annotations

import re
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel

from llamaindex_relay.errors import CutAnswer, NoToolCall
from relay_core.engines.base import Prompt
from relay_core.errors import ConfigurationError, RelayError


class Offer(BaseModel):
    """What a thing costs."""

    item: str
    coins: int


ASK = PromptTemplate("What does a {item} cost?")
ARGUMENTS = [' {"item": "lamp", "coins": <call>2</call>', "}}\n</tool_call>"]


def price(item: str) -> str:
    """The price of an item."""
    return f"A {item} costs 47 coins."


def stock(item: str) -> str:
    """How many there are."""
    return f"There are 12 {item}s."


TOOLS = [FunctionTool.from_defaults(price), FunctionTool.from_defaults(stock)]


def speaks_qwen(prompt: Prompt) -> str | list[Any]:
    """A student that can follow tools: goes on with the call that its turn begins with, or makes one of its own."""
    item = re.findall(r"a (\w+) cost", prompt.text)[-1]
    beginning = prompt.text.rpartition("<|im_start|>assistant")[2].partition("</think>\n\n")[2]
    if beginning.endswith('"arguments":'):
        return f' {{"item": "{item}"}}}}\n</tool_call>'
    if beginning.endswith('"name": "'):
        return f'price", "arguments": {{"item": "{item}"}}}}\n</tool_call>'
    if "<tools>" not in prompt.text:
        return "I cannot look."
    return "\n".join(
        f'<tool_call>\n{{"name": "{name}", "arguments": {{"item": "{item}"}}}}\n</tool_call>'
        for name in re.findall(r'"name": "(\w+)", "description"', prompt.text)
    )


@pytest.mark.parametrize(
    ("options", "called"),
    [
        ({"allow_parallel_tool_calls": True}, ["price", "stock"]),
        ({}, ["price"]),
        ({"tool_required": True}, ["price"]),
        ({"tool_choice": "any"}, ["price"]),
        ({"tool_choice": "stock"}, ["stock"]),
        ({"tool_choice": {"type": "function", "function": {"name": "stock"}}}, ["stock"]),
        ({"tool_choice": "none"}, []),
    ],
)
async def test_the_choice_of_tools_is_enforced(make_llm: Any, options: dict[str, Any], called: list[str]) -> None:
    llm = make_llm(speaks_qwen)
    arguments = {"user_msg": "What does a lamp cost?", **options}
    answers = [llm.chat_with_tools(TOOLS, **arguments), await llm.achat_with_tools(TOOLS, **arguments)]
    answers.append(list(llm.stream_chat_with_tools(TOOLS, **arguments))[-1])
    answers.append([r async for r in await llm.astream_chat_with_tools(TOOLS, **arguments)][-1])
    for answer in answers:
        calls = llm.get_tool_calls_from_response(answer, error_on_no_tool_call=False)
        assert [call.tool_name for call in calls] == called
        assert all(call.tool_kwargs == {"item": "lamp"} and call.tool_id.startswith("call_") for call in calls)
    if not called:
        with pytest.raises(ValueError, match="expected a tool call, got 'I cannot look"):
            llm.get_tool_calls_from_response(answers[0])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            '{"name": "price", "arguments": {"item": }}',
            "but the model's call of 'price' is broken: not JSON: Expect",
        ),
        ("price()", "but the model wrote one without a readable name: not JSON"),
        ('{"arguments": {}}', "but the model wrote one without a readable name: it names no tool"),
    ],
)
def test_a_broken_call_is_named(make_llm: Any, body: str, message: str) -> None:
    answer = make_llm(f"<tool_call>\n{body}\n</tool_call>")
    with pytest.raises(NoToolCall, match=f"^expected a tool call, {message}") as refused:
        answer.get_tool_calls_from_response(answer.chat_with_tools(TOOLS, user_msg="?"))
    assert isinstance(refused.value, ValueError)
    assert isinstance(refused.value, RelayError)


def test_a_call_without_a_closing_tag_is_a_call(make_llm: Any) -> None:
    llm = make_llm('<tool_call>\n{"name": "price", "arguments": {"item": "lamp"}}\nI look it up.')
    streamed = list(llm.stream_chat_with_tools(TOOLS, user_msg="?"))
    for answer in (llm.chat_with_tools(TOOLS, user_msg="?"), streamed[-1]):
        (call,) = llm.get_tool_calls_from_response(answer)
        assert (call.tool_name, call.tool_kwargs, answer.message.content) == (
            "price",
            {"item": "lamp"},
            "I look it up.",
        )


def test_a_choice_that_is_not_there_is_refused(make_llm: Any) -> None:
    with pytest.raises(ConfigurationError, match="'weather', which is not among the tools"):
        make_llm("?").chat_with_tools(TOOLS, user_msg="?", tool_choice="weather")


def test_predict_and_call_runs_the_tool(make_llm: Any) -> None:
    messages = [ChatMessage(content="What does a lamp cost?")]
    assert str(make_llm(speaks_qwen).predict_and_call(TOOLS, chat_history=messages)) == "A lamp costs 47 coins."


# -- objects -------------------------------------------------------------------------------------------------------


async def test_objects_by_a_forced_call_the_number_by_the_teacher(make_llm: Any) -> None:
    llm = make_llm(ARGUMENTS, "47", on_teacher_stop="continue")
    expected = Offer(item="lamp", coins=47)
    assert llm.structured_predict(Offer, ASK, item="lamp") == expected
    assert await llm.astructured_predict(Offer, ASK, item="lamp") == expected
    assert llm.as_structured_llm(Offer).complete("What does a lamp cost?").raw == expected
    prompt, _ = llm.relay.student.requests[0]
    assert prompt.text.endswith('<tool_call>\n{"name": "Offer", "arguments":')


async def test_objects_grow_while_they_stream(make_llm: Any) -> None:
    llm = make_llm(ARGUMENTS, "47", on_teacher_stop="continue")
    partial = list(llm.stream_structured_predict(Offer, ASK, item="lamp"))
    assert partial[-1] == Offer(item="lamp", coins=47)
    assert any(getattr(p, "item", None) == "lamp" and not getattr(p, "coins", None) for p in partial)
    stream = await llm.astream_structured_predict(Offer, ASK, item="lamp")
    assert [p async for p in stream][-1] == partial[-1]


def test_an_object_that_does_not_fit_is_an_error(make_llm: Any) -> None:
    with pytest.raises(ValueError, match="coins"):
        make_llm(' {"item": "lamp"}}\n</tool_call>').structured_predict(Offer, ASK, item="lamp")


def test_without_tools_objects_are_asked_for_in_words(make_llm: Any) -> None:
    llm = make_llm('{"item": "lamp", "coins": 47}', is_function_calling_model=False)
    assert llm.structured_predict(Offer, ASK, item="lamp") == Offer(item="lamp", coins=47)
    prompt, _ = llm.relay.student.requests[0]
    assert "schema" in prompt.text
    assert "<tools>" not in prompt.text
    llm.pydantic_program_mode = PydanticProgramMode.LLM
    assert llm.structured_predict(Offer, ASK, item="lamp").coins == 47


# -- answers that max_tokens cuts ----------------------------------------------------------------------------------

CUT = "max_tokens=40 cut .*: raise max_tokens, or bound the schema's fields"


class Order(BaseModel):
    """What somebody wants. Every beginning of its JSON is a whole order for a parser that closes brackets."""

    item: str = "tea"
    number: int = 1


def endless(prompt: Prompt) -> str:
    """A number that only the limit ends."""
    beginning = prompt.text.rpartition("</think>\n\n")[2]
    return (' {"item": "coffee", "number": 1' if beginning.endswith('"arguments":') else '{"number": 1') + "2" * 500


async def test_a_cut_object_is_an_error_that_names_the_limit(make_llm: Any) -> None:
    llm, structured = make_llm(endless, max_tokens=40), make_llm(endless, max_tokens=40).as_structured_llm(Order)
    question = [ChatMessage(content="?")]
    with pytest.raises(NoToolCall, match=CUT):
        llm.structured_predict(Order, ASK, item="tea")
    with pytest.raises(NoToolCall, match=CUT):
        await llm.astructured_predict(Order, ASK, item="tea")
    with pytest.raises(NoToolCall, match=CUT):
        structured.chat(question)
    with pytest.raises(NoToolCall, match=CUT):
        await structured.achat(question)
    with pytest.raises(NoToolCall, match=CUT):
        list(structured.stream_chat(question))


async def test_a_cut_object_that_streams_ends_with_that_error(make_llm: Any) -> None:
    llm = make_llm(endless, max_tokens=40)
    parts: list[Any] = []
    with pytest.raises(NoToolCall, match=CUT):
        parts.extend(llm.stream_structured_predict(Order, ASK, item="tea"))
    assert parts[-1].item == "coffee"
    stream = await llm.astream_structured_predict(Order, ASK, item="tea")
    with pytest.raises(NoToolCall, match=CUT):
        [part async for part in stream]


async def test_a_cut_object_in_words_is_an_error_too(make_llm: Any) -> None:
    llm = make_llm(endless, max_tokens=40, is_function_calling_model=False)
    with pytest.raises(CutAnswer, match=CUT):
        llm.structured_predict(Order, ASK, item="tea")
    with pytest.raises(CutAnswer, match=CUT):
        list(llm.stream_structured_predict(Order, ASK, item="tea"))
    with pytest.raises(CutAnswer, match=CUT):
        await llm.as_structured_llm(Order).achat([ChatMessage(content="?")])
    whole = make_llm('Here: {"item": "milk"}' + " and on" * 99, max_tokens=40, is_function_calling_model=False)
    assert whole.structured_predict(Order, ASK, item="tea") == Order(item="milk")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_an_agent_has_no_object_rather_than_a_cut_one(make_llm: Any) -> None:
    def agent_or_object(prompt: Prompt) -> str:
        return endless(prompt) if prompt.text.endswith('"arguments":') else "Done."

    agent = FunctionAgent(llm=make_llm(agent_or_object, max_tokens=40), output_cls=Order, streaming=False)
    with pytest.warns(UserWarning, match="max_tokens=40 cut"):
        output = await agent.run("A coffee, please.")
    assert output.structured_response is None


def test_without_a_tool_call_the_error_says_how_to_force_one(make_llm: Any) -> None:
    with pytest.raises(NoToolCall, match="tool_required=True"):
        make_llm("A lamp costs 47.").predict_and_call(TOOLS, user_msg="What does a lamp cost?")
