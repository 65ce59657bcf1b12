"""A query engine that answers questions from the lists of a shop, on the bundled pair; its answers are streamed.

python docs/examples/llamaindex_query.py
"""

from __future__ import annotations

import sys

from llama_index.core.base.response.schema import StreamingResponse
from llamaindex_shop import index

from llamaindex_relay import RelayLLM

QUESTIONS = (
    "Leo wants a toy. First, the price rises by 8 coins. Second, Leo takes 5 of them. What does Leo pay in all?",
    "Nora sells toys. First, each box gets 7 more. Second, 7 boxes come but 4 are lost. How many toys does Nora have?",
)


def main(llm: RelayLLM) -> list[str]:
    engine = index().as_query_engine(llm=llm, streaming=True)
    answers = []
    for question in QUESTIONS:
        print(question)
        response = engine.query(question)
        assert isinstance(response, StreamingResponse)
        answers.append("")
        for token in response.response_gen:
            answers[-1] += token
            print(token, end="", flush=True)
        print("\n  from:", *(node.text for node in response.source_nodes), "\n")
    return answers


if __name__ == "__main__":
    main(RelayLLM(calls="--alone" not in sys.argv))  # --alone: the student without its teacher
