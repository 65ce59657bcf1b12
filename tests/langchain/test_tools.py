"""Tools: bound in every form, rendered by the template, forced, parsed, run in an agent's loop."""

from __future__ import annotations

import warnings
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core._api.beta_decorator import LangChainBetaWarning
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_relay import ChatRelay
from relay_core import Chunk, ConfigurationError, Prompt, Sampling, ScriptedEngine
from relay_core.engines.wrapped import Wrapped
from relay_core.tool_parser import parse_answer
from relay_core.tools import forced_prefix
from testing.templates import tokenizer_of
from testing.tool_call_ids import without_random_ids

Make = Callable[..., ScriptedEngine]


@tool
def stock(item: str) -> int:
    """How many of an item are in stock."""
    return {"tea": 12, "coffee": 0}[item]


@tool
def price(item: str, pieces: int) -> str:
    """What so many pieces of an item cost."""
    if pieces < 1:
        raise ValueError("pieces must be 1 or more")
    return f"{pieces * 4} euros"


class Order(BaseModel):
    """Order an item."""

    item: str


def cancel(number: int) -> str:
    """Cancel an order."""
    return "cancelled"


with warnings.catch_warnings():
    warnings.simplefilter("ignore", LangChainBetaWarning)  # as_tool is in beta, and is one of the forms
    RUNNABLE = ChatPromptTemplate.from_messages([("human", "{style}")]).as_tool(name="as_runnable", description="x")

FORMS: list[Any] = [
    stock,
    Order,
    cancel,
    {"type": "function", "function": {"name": "as_openai", "parameters": {"type": "object", "properties": {}}}},
    {"name": "as_anthropic", "description": "x", "input_schema": {"type": "object", "properties": {}}},
    {"title": "AsSchema", "description": "x", "type": "object", "properties": {"a": {"type": "integer"}}},
    RUNNABLE,
]


def test_every_form_of_a_tool_reaches_the_template(follower: ScriptedEngine, tools_shown: Any) -> None:
    ChatRelay(student=follower, teacher=None).bind_tools(FORMS).invoke("Hello!")
    assert [f["name"] for f in tools_shown(follower.requests[0][0].text)] == [
        *("stock", "Order", "cancel", "as_openai", "as_anthropic", "AsSchema", "as_runnable"),
    ]


@pytest.mark.parametrize("wrong", [3, {"description": "no name"}, {"type": "function"}])
def test_what_is_no_tool_is_langchains_own_error(follower: ScriptedEngine, wrong: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        ChatRelay(student=follower, teacher=None).bind_tools([wrong])


@pytest.mark.parametrize(
    ("choice", "prefix"),
    [
        *((any_, forced_prefix()) for any_ in ("any", "required", True)),
        ("price", forced_prefix("price")),
        ({"type": "function", "function": {"name": "price"}}, forced_prefix("price")),
        ({"type": "tool", "name": "price"}, forced_prefix("price")),
        *((free, "") for free in (None, "auto", False)),
    ],
)
def test_a_choice_begins_the_turn(follower: ScriptedEngine, choice: Any, prefix: str) -> None:
    ChatRelay(student=follower, teacher=None).bind_tools([stock, price], tool_choice=choice).invoke("Hello!")
    prompt, _ = follower.requests[0]
    assert prompt.continuation == prefix
    assert prompt.text.endswith("</think>\n\n" + prefix)


def test_none_shows_no_tools_and_reads_no_calls(scripted: Make) -> None:
    tool_call = '<tool_call>\n{"name": "stock", "arguments": {}}\n</tool_call>'
    student = scripted(tool_call, record=True)
    message = ChatRelay(student=student, teacher=None).bind_tools([stock], tool_choice="none").invoke("Hello!")
    assert "<tools>" not in student.requests[0][0].text
    assert (message.content, message.tool_calls) == (tool_call, [])


def test_a_choice_that_is_not_there_is_refused_while_binding(follower: ScriptedEngine) -> None:
    with pytest.raises(ConfigurationError, match="'sell', which is not among the tools: write one of stock"):
        ChatRelay(student=follower, teacher=None).bind_tools([stock], tool_choice="sell")


def test_several_calls_in_one_turn_or_only_the_first(scripted: Make) -> None:
    tool_calls = "".join(
        f'<tool_call>\n{{"name": "stock", "arguments": {{"item": "{i}"}}}}\n</tool_call>\n' for i in "ab"
    )
    model = ChatRelay(student=scripted("Both:\n" + tool_calls), teacher=None)
    both = model.bind_tools([stock]).invoke("Hello!")
    assert [c["args"] for c in both.tool_calls] == [{"item": "a"}, {"item": "b"}]
    assert len({c["id"] for c in both.tool_calls}) == 2
    assert (both.content, both.response_metadata["finish_reason"]) == ("Both:", "tool_calls")
    first = model.bind_tools([stock], parallel_tool_calls=False).invoke("Hello!")
    assert [c["args"] for c in first.tool_calls] == [{"item": "a"}]


def test_the_ids_of_tool_calls_are_unique_and_those_of_one_answer_agree(scripted: Make) -> None:
    tool_call = '<tool_call>\n{"name": "stock", "arguments": {"item": "tea"}}\n</tool_call>'
    model = ChatRelay(student=scripted(tool_call), teacher=None, temperature=1.0).bind_tools([stock])
    answers = [*model.batch(["stock?"] * 4), model.invoke("stock?")]
    ids = [answer.tool_calls[0]["id"] for answer in answers]
    assert len(set(ids)) == 5
    history = [HumanMessage("stock?"), answers[0], ToolMessage("12", tool_call_id=ids[0] or ""), HumanMessage("stock?")]
    assert model.invoke([*history, answers[1], ToolMessage("0", tool_call_id=ids[1] or "")]).tool_calls
    message, streamed_ids = AIMessageChunk(content=""), []
    for chunk in model.stream("stock?"):
        streamed_ids += [part["id"] for part in chunk.tool_call_chunks if part["id"]]
        message += chunk
    assert streamed_ids == [call["id"] for call in message.tool_calls]


def test_a_call_that_is_cut_short_is_never_a_call(scripted: Make) -> None:
    cut_tool_call = '<tool_call>\n{"name": "price", "arguments": {"item": "tea", "pieces": 1200'
    model = ChatRelay(student=scripted(cut_tool_call), teacher=None).bind_tools([price])
    message = model.invoke("Hello!")
    assert message.tool_calls == []
    (broken,) = message.invalid_tool_calls
    assert broken["name"] == "price"
    assert (broken["args"] or "").startswith('{"item": "tea", "pieces": 1200')
    assert message.response_metadata["relay"]["written"]["text"] == cut_tool_call
    streamed = AIMessageChunk(content="")
    for chunk in model.stream("Hello!"):
        streamed += chunk
    assert streamed.tool_calls == []
    assert without_random_ids(streamed.invalid_tool_calls) == without_random_ids(message.invalid_tool_calls)


def test_a_call_without_a_closing_tag_is_a_call(scripted: Make) -> None:
    written = '<tool_call>\n{"name": "stock", "arguments": {"item": "</tool_call>"}}\nI look it up.'
    model = ChatRelay(student=scripted(written), teacher=None).bind_tools([stock])
    streamed = AIMessageChunk(content="")
    for chunk in model.stream("Hello!"):
        streamed += chunk
    for message in (model.invoke("Hello!"), streamed):
        (call,) = message.tool_calls
        assert (call["name"], call["args"], message.text) == ("stock", {"item": "</tool_call>"}, "I look it up.")
        assert message.invalid_tool_calls == []


def test_arguments_stream_as_they_are_written(follower: ScriptedEngine) -> None:
    chunks = list(ChatRelay(student=follower, teacher=None).bind_tools([stock]).stream("Is 'tea' in stock?"))
    parts = [part for chunk in chunks for part in chunk.tool_call_chunks]
    assert parts[0]["name"] == "stock"
    assert len(parts) > 4
    assert "".join(part["args"] or "" for part in parts) == '{"item": "tea"}'


# -- an agent


SYSTEM = "You keep a shop."


def test_an_agent_uses_two_tools(scripted: Make) -> None:
    """The student reads each result off the rendered prompt before it goes on."""

    def student(prompt: Any) -> str:
        turns = prompt.text.rsplit("<|im_start|>user\n", 1)[1]
        if "euros" in turns:
            return "12 are there; 3 cost <call>9</call>"
        if "<tool_response>\n12\n" in turns:
            call = '{"name": "price", "arguments": {"item": "tea", "pieces": 3}}'
            return f"12 are in stock.\n<tool_call>\n{call}\n</tool_call>"
        assert "3 pieces of tea" in turns
        return '<tool_call>\n{"name": "stock", "arguments": {"item": "tea"}}\n</tool_call>'

    model = ChatRelay(student=scripted(student), teacher=scripted("12 euros."))
    agent = create_agent(model, [stock, price], system_prompt=SYSTEM)
    question = {"messages": [HumanMessage("Are 3 pieces of tea there, and what do they cost?")]}
    state = agent.invoke(question)  # type: ignore[call-overload]
    results = [m.content for m in state["messages"] if isinstance(m, ToolMessage)]
    assert results == ["12", "12 euros"]
    assert state["messages"][-1].content == "12 are there; 3 cost 12 euros."
    assert state["messages"][-1].response_metadata["relay"]["calls"] == 1

    streamed = list(agent.stream(question, stream_mode="messages"))  # type: ignore[call-overload]
    chunks = [m for m, _ in streamed if isinstance(m, AIMessageChunk)]
    assert "".join(c.text for c in chunks) == "12 are in stock." + state["messages"][-1].content
    assert [p["name"] for c in chunks for p in c.tool_call_chunks if p["name"]] == ["stock", "price"]
    assert {c.name for c in chunks if c.content} == {"student", "teacher"}


@pytest.mark.parametrize("student_family", ["smollm2", "gemma2", "llama3", "qwen3"])
@pytest.mark.parametrize("teacher_family", ["gemma2", "qwen3"])
def test_an_agent_on_templates_that_know_tools_or_do_not(student_family: str, teacher_family: str) -> None:
    tool_call = '<tool_call>\n{"name": "stock", "arguments": {"item": "tea"}}\n</tool_call>'
    script = [tool_call, "We have <call>2</call>", " pieces."]
    student = ScriptedEngine(script, tokenizer_of(student_family), record=True)
    teacher = ScriptedEngine("12", tokenizer_of(teacher_family), record=True)

    class OneAnswerAfterAnother(Wrapped):
        """Plays the script on over the requests of several answers."""

        def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
            return self.inner.stream(replace(prompt, turn=len(student.requests)), sampling)

    model = ChatRelay(student=OneAnswerAfterAnother(student), teacher=teacher, on_teacher_stop="continue")
    state = create_agent(model, [stock], system_prompt=SYSTEM).invoke({"messages": [HumanMessage("How much tea?")]})
    last = state["messages"][-1]
    assert last.text == "We have 12 pieces."
    first, after_result, _ = (prompt.text for prompt, _ in student.requests)
    ((asked, _),) = teacher.requests
    assert asked.text.endswith("We have ")
    for text in (first, after_result, asked.text):
        assert SYSTEM in text
        assert "How many of an item are in stock." in text
    for text in (after_result, asked.text):
        assert [call.name for call in parse_answer(text.partition("How much tea?")[2]).tool_calls] == ["stock"]
        assert "<tool_response>\n12\n</tool_response>" in text
    notes = last.response_metadata["relay"]["notes"]
    for role, family in {"student": student_family, "teacher": teacher_family}.items():
        assert ("written into the messages as text" in notes.get(f"{role}_template", "")) == (family != "qwen3")


async def test_an_agent_streams_asynchronously(follower: ScriptedEngine) -> None:
    agent = create_agent(ChatRelay(student=follower, teacher=None), [stock])
    question = {"messages": [("human", "How many of the item 'tea' are in stock?")]}
    updates = [u async for u in agent.astream(question, stream_mode="updates")]  # type: ignore[call-overload]
    assert [name for update in updates for name in update] == ["model", "tools", "model"]
    assert updates[-1]["model"]["messages"][-1].content == "The tool says: 12"


def test_a_tools_error_goes_back_to_the_model(follower: ScriptedEngine) -> None:
    from langgraph.prebuilt import ToolNode

    model = ChatRelay(student=follower, teacher=None).bind_tools([price])
    question = HumanMessage("What do 0 pieces of the item 'tea' cost?")
    call = model.invoke([question])
    assert call.tool_calls[0]["args"] == {"item": "tea", "pieces": 0}
    node: Any = ToolNode([price], handle_tool_errors=True)
    from langgraph.graph import MessagesState, StateGraph

    graph = StateGraph(MessagesState)
    graph.add_node("tools", node)
    graph.set_entry_point("tools")
    result = graph.compile().invoke({"messages": [question, call]})["messages"][-1]
    assert result.status == "error"
    assert "pieces must be 1 or more" in model.invoke([question, call, result]).text


def test_an_agent_with_a_response_format(follower: ScriptedEngine) -> None:
    agent = create_agent(ChatRelay(student=follower, teacher=None), [], response_format=Order)
    state = agent.invoke({"messages": [("human", "Order the item 'tea'.")]})  # type: ignore[call-overload]
    assert state["structured_response"] == Order(item="tea")
