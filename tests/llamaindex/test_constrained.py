"""LlamaIndex's structured answers where the models run in this process: valid whatever the model writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel, Field

from llamaindex_relay import RelayLLM
from relay_core import Relay, TransformersEngine, bundled, portal

ASK = PromptTemplate("What is 7 * {n}?")


class Order(BaseModel):
    """What somebody wants to buy."""

    item: Literal["tea", "coffee", "käse"]
    pieces: int = Field(ge=1, le=99)
    note: str = Field(max_length=8)


@pytest.fixture(scope="module")
def llm() -> Iterator[RelayLLM]:
    """The bundled pair, which knows nothing of tools and JSON, and calls at random places."""
    engines = [TransformersEngine(bundled.path(name)) for name in ("student-relay", "teacher")]
    options = {"temperature": 1.0, "teacher_temperature": 1.0, "max_tokens": 200, "warming": "off"}
    yield RelayLLM(relay=Relay(*engines), trigger="chance:0.1,3", **options)
    for engine in engines:
        portal.run(engine.aclose)


def test_structured_predict(llm: RelayLLM) -> None:
    for n in range(6):
        assert isinstance(llm.structured_predict(Order, ASK, n=n), Order)


async def test_structured_predict_on_a_running_loop(llm: RelayLLM) -> None:
    assert isinstance(await llm.astructured_predict(Order, ASK, n=3), Order)


def test_streaming_objects(llm: RelayLLM) -> None:
    *_, last = llm.stream_structured_predict(Order, ASK, n=4)
    Order.model_validate(last.model_dump())


def test_as_structured_llm(llm: RelayLLM) -> None:
    structured = llm.as_structured_llm(Order)
    assert isinstance(structured.complete("What is 7 * 6?").raw, Order)
    assert isinstance(structured.chat([ChatMessage(content="What is 7 * 6?")]).raw, Order)
    *_, last = structured.stream_chat([ChatMessage(content="What is 7 * 6?")])
    Order.model_validate(last.raw.model_dump())
