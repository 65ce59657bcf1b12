"""Tests of an application that uses relay decoding: scripted models, no network, no weights loaded.

pytest docs/examples/test_my_app.py

The application is the three functions at the top. docs/testing.md explains the scripts.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator

import pytest

from langchain_relay import ChatRelay
from llamaindex_relay import RelayLLM
from relay_core import EngineError, Relay, RelayError, ScriptedEngine, TeacherUnavailable, TextDelta
from relay_core.engines.scripted import Delay

# -- the application ---------------------------------------------------------------------------------------


def total(relay: Relay, question: str) -> int:
    """The number that the answer ends with."""
    result = relay.generate(question, max_tokens=200, deadline_s=20)
    numbers = re.findall(r"\d+", result.text)
    if not numbers:
        raise LookupError(f"no number in {result.text!r} ({result.finish_reason})")
    return int(numbers[-1])


def page(relay: Relay, question: str) -> Iterator[str]:
    """The answer in pieces of HTML; the teacher's words are bold."""
    for event in relay.stream(question):
        if isinstance(event, TextDelta):
            yield f"<b>{event.text}</b>" if event.author == "teacher" else event.text


def reply(chat: ChatRelay, question: str) -> str:
    """The answer of a LangChain model, or an apology."""
    try:
        return chat.invoke(question).text
    except RelayError:
        return "Please try again later."


# -- its tests ---------------------------------------------------------------------------------------------

STUDENT = [["47 * 6 = <call>3</call>"], [". Done."]]  # one turn until the call, one after it


@pytest.fixture
def relay() -> Relay:
    return Relay(ScriptedEngine(STUDENT, None), ScriptedEngine("282", None))


def test_the_total_is_read_from_the_answer(relay: Relay) -> None:
    assert total(relay, "47 * 6?") == 282


def test_an_answer_without_a_number() -> None:
    with pytest.raises(LookupError, match=r"'I do not know\.' \(stop\)"):
        total(Relay(ScriptedEngine("I do not know.", None), teacher=None), "47 * 6?")


def test_the_teachers_words_are_bold_on_the_page(relay: Relay) -> None:
    text = "".join(page(relay, "47 * 6?"))
    assert text.replace("</b><b>", "") == "47 * 6 = <b>282</b>. Done."


def test_what_each_model_is_asked() -> None:
    student, teacher = ScriptedEngine(STUDENT, None, record=True), ScriptedEngine("282", None, record=True)
    total(Relay(student, teacher), "47 * 6?")
    (prompt, sampling), *others = teacher.requests
    assert (len(student.requests), len(others)) == (2, 0)
    assert prompt.messages[-1]["content"] == "47 * 6?"
    assert prompt.continuation == "47 * 6 = "  # the teacher never sees the command
    assert sampling.max_tokens == 3  # a token without a vocabulary is a character


def test_the_student_goes_on_alone_if_the_teacher_fails() -> None:
    teacher = ScriptedEngine([[EngineError("HTTP 503")]], None)
    result = Relay(ScriptedEngine(STUDENT, None), teacher).generate("47 * 6?")
    assert result.text == "47 * 6 = . Done."
    assert (result.usage.failed_calls, result.failures) == (1, ["HTTP 503"])
    with pytest.raises(TeacherUnavailable):
        Relay(ScriptedEngine(STUDENT, None), teacher).generate("47 * 6?", on_teacher_error="raise")


def test_a_failure_of_the_student_becomes_an_apology() -> None:
    broken = ScriptedEngine([["The tot", EngineError("out of memory")]], None)
    assert reply(ChatRelay(student=broken, teacher=None), "47 * 6?") == "Please try again later."


def test_a_slow_model_is_cut_off_at_the_deadline() -> None:
    student = ScriptedEngine([["The total is 28", Delay(60), "2."]], None)
    began = time.monotonic()
    result = Relay(student, teacher=None).generate("47 * 6?", deadline_s=0.2)
    assert (result.text, result.finish_reason) == ("The total is 28", "deadline")
    assert time.monotonic() - began < 10


def test_token_ids() -> None:
    """With a vocabulary, tokens have ids. ``"bundled"`` is one that needs no download."""
    student = ScriptedEngine("The total is 282.", "bundled")
    result = Relay(student, teacher=None).generate("47 * 6?")
    assert student.tokenizer is not None
    ids = [token_id for segment in result.segments for token_id in segment.token_ids]
    assert student.tokenizer.decode(ids) == "The total is 282."


def test_an_answer_that_depends_on_the_question() -> None:
    student = ScriptedEngine(lambda prompt: f"You asked: {prompt.messages[-1]['content']}", None)
    results = Relay(student, teacher=None).batch(["one?", "two?"])
    assert [result.text for result in results] == ["You asked: one?", "You asked: two?"]


def test_llamaindex(relay: Relay) -> None:
    llm = RelayLLM(relay=relay)
    assert llm.complete("47 * 6?").text == "47 * 6 = 282. Done."


def test_async_code(relay: Relay) -> None:
    results = asyncio.run(relay.abatch(["47 * 6?"] * 3))
    assert [result.text for result in results] == ["47 * 6 = 282. Done."] * 3
