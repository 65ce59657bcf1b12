"""Query and chat engines over the shop's lists: real retrieval, LlamaIndex's own prompts."""

from __future__ import annotations

import asyncio
import json
import re
from types import ModuleType
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.response.schema import StreamingResponse

from llamaindex_relay import RelayLLM
from relay_core.bundled import prompt_forms, task
from relay_core.engines.base import Prompt
from tests.llamaindex.conftest import EXAMPLES

QUESTIONS = json.loads((EXAMPLES / "data" / "questions.json").read_text())


@pytest.fixture(scope="session")
def index(shop: ModuleType) -> VectorStoreIndex:
    return shop.index()  # type: ignore[no-any-return]


def test_the_shop_has_what_the_questions_need(shop: ModuleType) -> None:
    texts = [document.text for document in shop.documents()]
    assert len(QUESTIONS) == 20
    for question in QUESTIONS:
        assert sum(question["fact"] in text for text in texts) == 1


def test_retrieval_finds_the_fact_for_every_question(index: VectorStoreIndex) -> None:
    retriever = index.as_retriever()
    for question in QUESTIONS:
        assert any(question["fact"] in node.text for node in retriever.retrieve(question["question"])), question


# -- scripted: LlamaIndex's prompts reach the models, the figures come from them ------------------------------------


def clerk(prompt: Prompt) -> str:
    """Leaves the figure to the teacher; where calls are blocked, has none."""
    item = re.findall(r"a (\w+) cost\?", prompt.text)[-1]
    return f"A {item} costs <call>4</call> coins." if prompt.turn == 0 else " coins."


def reader(prompt: Prompt) -> str:
    """A teacher that reads the figure from the context in its own prompt."""
    item = re.findall(r"A (\w+) costs $", prompt.text)[-1]
    (figure,) = re.findall(rf"A {item} costs (\d+) coins\.", prompt.text)
    return str(figure)


@pytest.fixture
def scripted(make_llm: Any) -> RelayLLM:
    return make_llm(clerk, reader, on_teacher_stop="continue")  # type: ignore[no-any-return]


@pytest.fixture
def figure(shop: ModuleType) -> str:
    """What the price list says of a hat."""
    (price,) = [f for d in shop.documents() for f in re.findall(r"A hat costs (\d+) coins", d.text)]
    return f"A hat costs {price} coins."


async def test_the_query_engine_answers_from_the_context(
    index: VectorStoreIndex, scripted: RelayLLM, figure: str
) -> None:
    question = "What does a hat cost?"
    assert str(index.as_query_engine(llm=scripted).query(question)) == figure
    assert str(await index.as_query_engine(llm=scripted).aquery(question)) == figure
    streamed = index.as_query_engine(llm=scripted, streaming=True).query(question)
    assert isinstance(streamed, StreamingResponse)
    assert "".join(streamed.response_gen) == figure
    refined = index.as_query_engine(llm=scripted, response_mode="tree_summarize").query(question)
    assert str(refined) == figure


@pytest.mark.parametrize("mode", ["context", "condense_plus_context", "best"])
async def test_the_chat_engine_answers_from_the_context(
    index: VectorStoreIndex, scripted: RelayLLM, figure: str, mode: Any
) -> None:
    question = "What does a hat cost?"
    assert str(index.as_chat_engine(chat_mode=mode, llm=scripted).chat(question)) == figure
    assert str(await index.as_chat_engine(chat_mode=mode, llm=scripted).achat(question)) == figure
    engine = index.as_chat_engine(chat_mode=mode, llm=scripted)
    assert "".join(engine.stream_chat(question).response_gen) == figure
    streamed = await index.as_chat_engine(chat_mode=mode, llm=scripted).astream_chat(question)
    assert "".join([token async for token in streamed.async_response_gen()]) == figure
    assert str(engine.chat_history[-1].content) == figure


def test_the_bundled_pair_was_trained_on_these_prompts(index: VectorStoreIndex, make_llm: Any) -> None:
    llm, question = make_llm("Yes."), QUESTIONS[0]["question"]
    nodes = index.as_retriever().retrieve(question)
    context = "\n\n".join(node.text for node in nodes)
    index.as_query_engine(llm=llm).query(question)
    index.as_chat_engine(chat_mode="context", llm=llm).chat(question)
    index.as_chat_engine(llm=llm).chat(question)
    (query, _), (chat, _), (default, _) = llm.relay.student.requests
    assert tuple(query.messages) == prompt_forms.chat_text_qa_messages(context, question)
    assert tuple(chat.messages) == prompt_forms.chat_engine_messages(context, question)
    assert tuple(default.messages) == prompt_forms.condense_messages(context, question)


# -- the bundled pair ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def bundled() -> RelayLLM:
    return RelayLLM()


def right(answers: list[Any]) -> int:
    """How many are; also printed, for `pytest -rP`."""
    n = sum(task.grade(str(answer), q["answer"]) for answer, q in zip(answers, QUESTIONS, strict=True))
    print(f"{n} of {len(QUESTIONS)} right")
    return n


async def ask_all(index: VectorStoreIndex, llm: RelayLLM) -> list[Any]:
    engine = index.as_query_engine(llm=llm)
    return await asyncio.gather(*(engine.aquery(q["question"]) for q in QUESTIONS))


@pytest.mark.slow
async def test_the_bundled_pair_answers_with_the_retrieved_figures(index: VectorStoreIndex, bundled: RelayLLM) -> None:
    with_calls = right(await ask_all(index, bundled))
    blocked = right(await ask_all(index, bundled.model_copy(update={"calls": False})))
    assert with_calls >= 18
    assert blocked < with_calls


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["context", None])
async def test_the_bundled_pair_in_the_chat_engine(
    index: VectorStoreIndex, bundled: RelayLLM, mode: str | None
) -> None:
    how: Any = {} if mode is None else {"chat_mode": mode}
    answers = [await index.as_chat_engine(llm=bundled, **how).achat(q["question"]) for q in QUESTIONS]
    assert right(answers) >= 18


@pytest.mark.slow
def test_the_bundled_pair_streams(index: VectorStoreIndex, bundled: RelayLLM) -> None:
    question = QUESTIONS[0]["question"]
    whole = index.as_query_engine(llm=bundled).query(question)
    streamed = index.as_query_engine(llm=bundled, streaming=True).query(question)
    assert isinstance(streamed, StreamingResponse)
    assert "".join(streamed.response_gen) == str(whole)
