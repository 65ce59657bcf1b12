"""The student that ships as an adapter, `bundled:smollm2-135m-relay`, on its base and with its teacher."""

from __future__ import annotations

from pathlib import Path

import pytest

from langchain_relay import ChatRelay
from relay_core.evaluate.graders import number

QUESTION = "A baker fills 7 trays, and 48 rolls fit on each of them. How many rolls are that?"
STYLE = " Answer in full sentences: say what is given, calculate, and then give the result."

pytestmark = [pytest.mark.timeout(600)]


def test_it_leaves_the_product_to_its_teacher(models: Path) -> None:
    chat = ChatRelay(
        student=f"bundled:smollm2-135m-relay?base={models / 'smollm2-135m'}",
        teacher=f"{models / 'qwen2.5-coder-1.5b'}?dtype=float32",
        temperature=0.0, max_tokens=160, max_calls=5, max_call_tokens=16,
    )  # fmt: skip
    pieces = [(chunk.name, chunk.text) for chunk in chat.stream(QUESTION + STYLE) if chunk.name]
    assert number("".join(text for _, text in pieces), "336")
    assert "336" in "".join(text for author, text in pieces if author == "teacher")
    assert sum(len(text) for author, text in pieces if author == "student") > 80


def test_alone_it_answers_without_a_command(models: Path) -> None:
    chat = ChatRelay(
        student=f"bundled:smollm2-135m-relay?base={models / 'smollm2-135m'}",
        teacher=f"{models / 'qwen2.5-coder-1.5b'}?dtype=float32", calls=False, temperature=0.0, max_tokens=160,
    )  # fmt: skip
    reply = chat.invoke(QUESTION + STYLE)
    assert "call>" not in reply.text and len(reply.text) > 80
