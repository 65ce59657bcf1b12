"""An agent with two tools; its answer is streamed.

python docs/examples/langchain_agent.py --student vllm:./my-student --teacher openai:MODEL@http://localhost:8000/v1

The student must know Qwen's format for tool calls; the bundled pair does not.
"""

from __future__ import annotations

import argparse
from typing import Any

from langchain.agents import create_agent
from langchain_core.tools import tool

from langchain_relay import ChatRelay

STOCK = {"tea": 12, "coffee": 0}
PRICES = {"tea": 4, "coffee": 7}


@tool
def stock(item: str) -> int:
    """The number of pieces of an item in stock."""
    return STOCK[item]


@tool
def price(item: str, pieces: int) -> int:
    """The price of a number of pieces of an item, in euros."""
    return PRICES[item] * pieces


def main(chat: ChatRelay, question: str) -> str:
    agent: Any = create_agent(chat, [stock, price], system_prompt="You keep a shop.")
    answer = ""
    for chunk, _ in agent.stream({"messages": [("human", question)]}, stream_mode="messages"):
        if chunk.type == "tool":
            print(f"\n{chunk.name} -> {chunk.text}")
        else:
            answer += chunk.text
            print(chunk.text, end="", flush=True)
    return answer


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--student", required=True)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("question", nargs="?", default="How many of the item 'tea' are in stock?")
    args = parser.parse_args()
    main(ChatRelay(student=args.student, teacher=args.teacher), args.question)
