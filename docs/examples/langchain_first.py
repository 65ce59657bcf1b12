"""ChatRelay on the bundled pair: an answer, its authors and its cost, and the same answer as a stream.

python docs/examples/langchain_first.py
"""

from __future__ import annotations

from langchain_relay import ChatRelay
from relay_core import Prices

QUESTION = (
    "A pen costs 62 coins. Sam wants a pen. First, the price rises by 7 coins. Second, Sam buys 3 pens and then "
    "4 more. What does Sam pay in all?"
)


def main() -> str:
    chat = ChatRelay(prices=Prices(teacher_input=0.5, teacher_output=1.5))
    message = chat.invoke(QUESTION)
    relay = message.response_metadata["relay"]
    for span in relay["spans"]:
        print(f"{span['author']:8}", message.text[span["start"] : span["end"]])
    print(f"{relay['calls']} calls, {relay['call_ratio']:.1%} of the tokens by the teacher, cost {relay['cost']:.8f}")
    for chunk in chat.stream(QUESTION):
        print(f"[{chunk.text}]" if chunk.name == "teacher" else chunk.text, end="", flush=True)
    return message.text


if __name__ == "__main__":
    main()
