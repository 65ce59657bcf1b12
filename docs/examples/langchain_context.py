"""An agent that answers from the lists of a shop: middleware puts the matching facts into its system message.

python docs/examples/langchain_context.py

The lists are in data/shop. The search counts words, so that nothing has to be downloaded.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import ModelRequest, dynamic_prompt

from langchain_relay import ChatRelay

LISTS = Path(__file__).parent / "data" / "shop"
COMMON = frozenset(("a", "and", "at", "but", "does", "for", "how", "in", "is", "many", "more", "of", "one", "the"))
CONTEXT = "Use the context information below to assist the user.\n{line}\n{facts}\n{line}\n"


def words(text: str) -> set[str]:
    return {word.removesuffix("s") for word in re.findall(r"[a-z]+", text.lower()) if word not in COMMON}


def search(question: str, limit: int = 2) -> list[str]:
    """The ``limit`` paragraphs of the lists that share the most words with the question; rare words count more."""
    paragraphs = [p.strip() for path in sorted(LISTS.glob("*.txt")) for p in path.read_text().split("\n\n")]
    frequency = Counter(word for paragraph in paragraphs for word in words(paragraph))
    wanted = words(question)
    return sorted(paragraphs, key=lambda p: -sum(1 / frequency[word] for word in words(p) & wanted))[:limit]


@dynamic_prompt
def with_facts(request: ModelRequest) -> str:
    return CONTEXT.format(line="-" * 20, facts="\n\n".join(search(request.messages[-1].text)))


def main(question: str) -> str:
    agent: Any = create_agent(ChatRelay(), middleware=[with_facts])
    state = agent.invoke({"messages": [("human", question)]})
    return str(state["messages"][-1].text)


if __name__ == "__main__":
    import json

    questions = json.loads((Path(__file__).parent / "data" / "questions.json").read_text())
    for example in questions[:3]:
        print(example["question"], "\n   ", main(example["question"]))
