"""FunctionAgent: a loop with two tools, the student reading its real prompt, the teacher doing the sum."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentStream, FunctionAgent, ToolCallResult
from llama_index.core.memory import ChatMemoryBuffer

from relay_core.engines.base import Prompt

PRICES, STOCK = {"lamp": 47, "chair": 52}, {"lamp": 36, "chair": 9}


def price(item: str) -> int:
    """What one piece costs, in coins."""
    if item not in PRICES:
        raise ValueError(f"the shop has no {item}")
    return PRICES[item]


def stock(item: str) -> int:
    """How many pieces there are."""
    return STOCK.get(item, 0)


def clerk(prompt: Prompt) -> str:
    """A student that was trained for tools: looks both figures up, then answers, leaving the product to the teacher."""
    *_, turns = prompt.text.rpartition("<|im_start|>user\nWhat do")
    question = re.match(r" (\d+) (\w+?)s cost\?", turns)
    assert question is not None
    assert "<tools>" in prompt.text
    results = re.findall(r"<tool_response>\n(.*?)\n</tool_response>", turns, re.DOTALL)
    if not results:
        calls = [{"name": name, "arguments": {"item": question[2]}} for name in ("price", "stock")]
        return "".join(f"<tool_call>\n{json.dumps(call)}\n</tool_call>\n" for call in calls)
    if not results[0].isdigit():
        return f"I am sorry: {results[0]}."
    if prompt.turn:
        return f" coins, and there are {results[1]}."
    return f"They cost {question[1]} * {results[0]} = <call>3</call>"


def calculator(prompt: Prompt) -> str:
    """A teacher that goes on from the reader's text."""
    a, b = re.findall(r"(\d+) \* (\d+) =\s*$", prompt.text)[-1]
    return str(int(a) * int(b))


@pytest.fixture
def agent(make_llm: Any) -> FunctionAgent:
    llm = make_llm(clerk, calculator, on_teacher_stop="continue")
    return FunctionAgent(tools=[price, stock], llm=llm, system_prompt="You are a clerk in a shop.")


async def test_two_tools_in_one_turn_then_the_answer(agent: FunctionAgent) -> None:
    handler = agent.run("What do 6 lamps cost?")
    results, text = {}, ""
    async for event in handler.stream_events():
        if isinstance(event, ToolCallResult):
            results[event.tool_name] = event.tool_output.raw_output
        elif isinstance(event, AgentStream):
            text += event.delta
    output = await handler
    assert results == {"price": 47, "stock": 36}
    assert str(output) == text == "They cost 6 * 47 = 282 coins, and there are 36."
    assert output.raw["relay"]["calls"] == 1
    assert output.raw["relay"]["usage"]["teacher_tokens"] == 3


async def test_a_tools_error_goes_back_to_the_student(agent: FunctionAgent) -> None:
    output = await agent.run("What do 6 unicorns cost?")
    assert "the shop has no unicorn" in str(output)


async def test_the_conversation_goes_on(agent: FunctionAgent) -> None:
    memory = ChatMemoryBuffer.from_defaults(llm=agent.llm)
    await agent.run("What do 6 lamps cost?", memory=memory)
    output = await agent.run("What do 3 chairs cost?", memory=memory)
    assert str(output) == "They cost 3 * 52 = 156 coins, and there are 9."
    prompt, _ = agent.llm.relay.student.requests[-1]  # type: ignore[attr-defined]
    assert "They cost 6 * 47 = 282 coins, and there are 36.<|im_end|>" in prompt.text


async def test_without_streaming_and_with_a_first_tool(make_llm: Any) -> None:
    def begins_forced(prompt: Prompt) -> str:
        return ' {"item": "lamp"}}\n</tool_call>' if prompt.text.endswith('"arguments":') else "There are 36."

    llm = make_llm(begins_forced)
    agent = FunctionAgent(tools=[price, stock], llm=llm, streaming=False, initial_tool_choice="stock")
    output = await agent.run("How many lamps are there?")
    assert str(output) == "There are 36."
    assert [call.tool_name for call in output.tool_calls] == ["stock"]
    prompt, _ = llm.relay.student.requests[0]
    assert prompt.text.endswith('<tool_call>\n{"name": "stock", "arguments":')
