"""Agents on qwen: a tool call, its result, an answer, and a second tool call, in both frameworks.

RELAY_REAL_ROUNDS sets how many conversations are held at once (1 by default):

    RELAY_REAL_ROUNDS=20 make test-real PYTEST_ARGS="-k agents"
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRequest, ModelResponse, wrap_model_call
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from llama_index.core.memory import ChatMemoryBuffer

from langchain_relay import ChatRelay
from llamaindex_relay import RelayLLM
from relay_core import Engine, Prompt, Relay
from testing.real_engines import ON_TRANSFORMERS, VLLM_SERVER, Recorded

ROUNDS = int(os.environ.get("RELAY_REAL_ROUNDS", "1"))
STOCK = {"tea": 12, "coffee": 7}
ITEMS = ("tea", "coffee")
# without the second and third sentence, this model goes on calling the tool after each result
SYSTEM = (
    "You keep a shop. Look up the stock once with the tool. When you have its result, answer in one short sentence."
)
TWICE = '{\\"item'  # arguments that were encoded as a string, and then once more

pytestmark = [
    pytest.mark.timeout(600 + 120 * ROUNDS),
    pytest.mark.kinds(ON_TRANSFORMERS, VLLM_SERVER),
    pytest.mark.parametrize(("student", "teacher"), [("qwen2.5-coder-1.5b", "smollm2-135m")]),
]


@pytest.fixture
def relay(trio: Mapping[str, Engine], student: str, teacher: str) -> Relay:
    """The pair; its student keeps what it is asked."""
    return Relay(Recorded(trio[student]), trio[teacher])


def asked_of(relay: Relay) -> list[Prompt]:
    assert isinstance(relay.student, Recorded)
    return [prompt for prompt, _ in relay.student.requests]


def check_history(relay: Relay) -> None:
    """Earlier calls stand in the prompts as the template wants them: the arguments as an object."""
    with_calls = [prompt.text for prompt in asked_of(relay) if '"arguments": {"item": "' in prompt.text]
    assert len(with_calls) >= 3 * ROUNDS, "the first call's answer, the second call, and its answer"
    assert not any(TWICE in prompt.text for prompt in asked_of(relay))


@wrap_model_call  # type: ignore[arg-type]
async def call_first(request: ModelRequest[Any], handler: Callable[..., Awaitable[ModelResponse]]) -> Any:
    """Force a tool call after each question of the user."""
    is_question = isinstance(request.messages[-1], HumanMessage)
    return await handler(request.override(tool_choice="any") if is_question else request)


@pytest.mark.shows("LangChain's create_agent")
def test_langchains_agent_calls_a_tool_twice(relay: Relay) -> None:
    @tool
    def stock(item: str) -> int:
        """The number of pieces of an item in stock."""
        return STOCK[item]

    chat = ChatRelay(relay=relay, max_tokens=60)
    agent: Any = create_agent(chat, [stock], system_prompt=SYSTEM, middleware=[call_first])

    async def conversation(number: int) -> list[Any]:
        messages: list[Any] = []
        for item in ITEMS:
            question = f"How many pieces of the item '{item}' are in stock? (question {number})"
            messages = (await agent.ainvoke({"messages": [*messages, HumanMessage(question)]}))["messages"]
        return messages

    for messages in run_all(conversation):
        calls = [call for m in messages if isinstance(m, AIMessage) for call in m.tool_calls]
        assert not [m for m in messages if isinstance(m, AIMessage) and m.invalid_tool_calls]
        assert [call["args"] for call in calls if call["args"]["item"] in STOCK][:2] == [{"item": i} for i in ITEMS]
        results = [m.text for m in messages if isinstance(m, ToolMessage)]
        assert {"12", "7"} <= set(results)
        assert "7" in messages[-1].text
    check_history(relay)


@pytest.mark.shows("LlamaIndex's FunctionAgent")
def test_llamaindexes_agent_calls_a_tool_twice(relay: Relay) -> None:
    def stock(item: str) -> int:
        """The number of pieces of an item in stock."""
        return STOCK[item]

    llm = RelayLLM(relay=relay, max_tokens=60)

    async def conversation(number: int) -> tuple[list[ToolCallResult], str]:
        memory, results, answer = ChatMemoryBuffer.from_defaults(llm=llm), [], ""
        for item in ITEMS:
            agent = FunctionAgent(tools=[stock], llm=llm, system_prompt=SYSTEM, initial_tool_choice="stock")
            question = f"How many pieces of the item '{item}' are in stock? (question {number})"
            handler = agent.run(question, memory=memory)
            results += [event async for event in handler.stream_events() if isinstance(event, ToolCallResult)]
            answer = str(await handler)
        return results, answer

    for results, answer in run_all(conversation):
        assert [result.tool_kwargs for result in results] == [{"item": item} for item in ITEMS]
        assert [result.tool_output.raw_output for result in results] == [12, 7]
        assert "7" in answer
    check_history(relay)


def run_all(conversation: Callable[[int], Awaitable[Any]]) -> list[Any]:
    """All conversations at once."""

    async def gathered() -> list[Any]:
        return list(await asyncio.gather(*(conversation(number) for number in range(ROUNDS))))

    return asyncio.run(gathered())
