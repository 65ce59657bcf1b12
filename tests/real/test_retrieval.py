"""Retrieval with LlamaIndex: smol answers from documents, and qwen writes the fact."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from llama_index.core import Document, VectorStoreIndex

from llamaindex_relay import RelayLLM
from relay_core import Engine, Relay
from testing.random_calls import CallsAtRandom

FACTS = (
    "The lighthouse of Orsk was built in 1874 from grey stone.",
    "The bakery in Mill Street opens at half past six.",
    "Captain Lindqvist owns a red boat called Marigold.",
)
QUESTIONS = {
    "When was the lighthouse of Orsk built?": "1874",
    "What is the red boat of Captain Lindqvist called?": "Marigold",
}

pytestmark = [pytest.mark.timeout(600), pytest.mark.shows("retrieval")]


@pytest.fixture(scope="module")
def documents() -> VectorStoreIndex:
    """The facts under the embedding of docs/examples, which counts words."""
    path = Path(__file__).parents[2] / "docs" / "examples" / "llamaindex_shop.py"
    spec = importlib.util.spec_from_file_location("shop_of_the_examples", path)
    assert spec is not None
    assert spec.loader is not None
    shop = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = shop
    spec.loader.exec_module(shop)
    return VectorStoreIndex.from_documents([Document(text=fact) for fact in FACTS], embed_model=shop.WordCount())


@pytest.mark.parametrize(("student", "teacher"), [("smollm2-135m", "qwen2.5-coder-1.5b")])
def test_a_fact_from_a_document_by_the_teacher(
    trio: Mapping[str, Engine], documents: VectorStoreIndex, student: str, teacher: str
) -> None:
    asked = CallsAtRandom(trio[student], 0.0, 16, at_start=True)
    llm = RelayLLM(relay=Relay(asked, trio[teacher]), max_tokens=40)
    engine = documents.as_query_engine(llm=llm, similarity_top_k=1)
    for question, fact in QUESTIONS.items():
        answer = str(engine.query(question))
        assert fact in answer
        assert "<call>" not in answer
