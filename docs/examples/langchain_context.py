"""An agent that answers from a shop's lists: the facts that fit the question go into its system message.

python docs/examples/langchain_context.py

The lists are under data/shop and the search counts words, so that nothing has to be downloaded.
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


def search(question: str, most: int = 2) -> list[str]:
    """The paragraphs of the lists that share most words with the question, rare words counting more."""
    paragraphs = [p.strip() for path in sorted(LISTS.glob("*.txt")) for p in path.read_text().split("\n\n")]
    spread = Counter(word for paragraph in paragraphs for word in words(paragraph))
    asked = words(question)
    return sorted(paragraphs, key=lambda p: -sum(1 / spread[word] for word in words(p) & asked))[:most]


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
    for asked in questions[:3]:
        print(asked["question"], "\n   ", main(asked["question"]))
