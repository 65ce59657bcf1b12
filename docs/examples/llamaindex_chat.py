"""A chat engine that answers questions from the lists of a shop, on the bundled pair.

The pair can answer single questions only, so each question begins a new conversation. Larger models need no `reset`.

python docs/examples/llamaindex_chat.py                  # asks two questions
python docs/examples/llamaindex_chat.py --interactive    # asks yours
"""

from __future__ import annotations

import sys

from llamaindex_shop import index

from llamaindex_relay import RelayLLM

QUESTIONS = (
    "Tom wants a spoon. First, Tom takes 6 and later 2 more. What does Tom pay in all?",
    "Sam wants a hat. First, Sam takes 9 of them. What does Sam pay in all?",
)


def main(llm: RelayLLM, *, interactive: bool = False) -> list[str]:
    engine = index().as_chat_engine(chat_mode="context", llm=llm)
    if interactive:
        engine.chat_repl()
        return []
    answers = []
    for question in QUESTIONS:
        engine.reset()
        answers.append(str(engine.chat(question)))
        print(f"{question}\n{answers[-1]}\n")
    return answers


if __name__ == "__main__":
    main(RelayLLM(), interactive="--interactive" in sys.argv)
