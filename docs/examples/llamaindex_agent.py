"""An agent with two tools; its answer is streamed.

python docs/examples/llamaindex_agent.py --student vllm:./my-student --teacher openai:MODEL@http://localhost:8000/v1

The student must know Qwen's format for tool calls; the bundled pair does not.
"""

from __future__ import annotations

import argparse
import asyncio

from llama_index.core.agent.workflow import AgentStream, FunctionAgent, ToolCallResult

from llamaindex_relay import RelayLLM

PRICES = {"lamp": 47, "chair": 52}
STOCK = {"lamp": 36, "chair": 9}


def price(item: str) -> int:
    """The price of one piece, in coins."""
    return PRICES[item]


def stock(item: str) -> int:
    """The number of pieces in stock."""
    return STOCK[item]


async def main(llm: RelayLLM, question: str) -> str:
    agent = FunctionAgent(tools=[price, stock], llm=llm, system_prompt="You are a clerk in a shop.")
    handler = agent.run(question)
    async for event in handler.stream_events():
        if isinstance(event, ToolCallResult):
            print(f"{event.tool_name}({event.tool_kwargs}) -> {event.tool_output}")
        elif isinstance(event, AgentStream):
            print(event.delta, end="", flush=True)
    return str(await handler)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--student", required=True)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("question", nargs="?", default="What do 6 lamps cost?")
    args = parser.parse_args()
    asyncio.run(main(RelayLLM(student=args.student, teacher=args.teacher), args.question))
