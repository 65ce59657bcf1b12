"""Endpoints that end, count and answer in their own ways, on loopback: what comes of a whole answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from relay_core.engines.base import Prompt, Sampling
from relay_core.engines.openai import OpenAIEngine
from relay_core.engines.openai.probe import Endpoint
from relay_core.engines.openai.protocol import Dialect, Mode
from relay_core.engines.scripted import ScriptedEngine
from relay_core.errors import EngineError
from relay_core.events import RelayResult
from relay_core.relay import Relay
from relay_core.settings import Prices
from relay_core.tokenizer import Tokenizer
from relay_core.tool_parser import parse_answer
from testing.faults import event, say
from testing.faulty_proxy import FaultyProxy

DONE = event("[DONE]")
Make = Callable[..., OpenAIEngine]


def delta(text: str | None = None, reason: str | None = None, usage: Any = None, **fields: Any) -> bytes:
    """An event of a chat."""
    fields = fields if text is None else {"content": text, **fields}
    payload = {"choices": [{"index": 0, "delta": fields, "finish_reason": reason}]}
    return event(payload if usage is None else {**payload, "usage": usage})


@pytest.fixture
async def proxy() -> AsyncIterator[FaultyProxy]:
    """An endpoint that answers with the faults put into it."""
    async with FaultyProxy("http://127.0.0.1:9") as bent:
        yield bent


@pytest.fixture
async def make(proxy: FaultyProxy) -> AsyncIterator[Make]:
    """Builds engines of that endpoint."""
    built: list[OpenAIEngine] = []

    def build(mode: str = "chat", **options: Any) -> OpenAIEngine:
        options = {"api_key": "k", "backoff_s": 0.001, "backoff_max_s": 0.002, "breaker_after": None, **options}
        built.append(OpenAIEngine("m", proxy.url, **options))
        built[-1]._adopt(Endpoint(Dialect(Mode(mode))))
        return built[-1]

    yield build
    for each in built:
        await each.aclose()


async def ask(teacher: OpenAIEngine, tokenizer: Tokenizer, n: int = 50, **settings: Any) -> RelayResult:
    """One answer of a student that calls once for ``n`` tokens."""
    student = ScriptedEngine([[f"It is <call>{n}</call>"], [" So."]], tokenizer)
    return await Relay(student, teacher).agenerate("Add 2 and 3.", **settings)


# -- endings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["chat", "chat-continue"])
@pytest.mark.parametrize("reason", [None, "", "eos", "max_output"])
async def test_an_answer_that_ends_at_done_is_asked_for_once(
    mode: str, reason: str | None, proxy: FaultyProxy, make: Make
) -> None:
    proxy.always = say(delta("The answer"), delta(" is 7."), delta(reason=reason), DONE)
    result = await Relay(make(mode), None).agenerate("?", max_tokens=100)
    assert (result.text, result.finish_reason) == ("The answer is 7.", "stop")
    assert len(proxy.generating) == 1
    assert ("student_finish_reason" in result.notes) is (reason in ("eos", "max_output"))


@pytest.mark.parametrize("then", ["end", "reset"])
async def test_a_broken_answer_in_plain_chat_is_said_and_not_asked_for_again(
    then: str, proxy: FaultyProxy, make: Make
) -> None:
    proxy.always = say(delta("The answer"), delta(" is"), then=then)
    result = await Relay(make("chat"), None).agenerate("?", max_tokens=100)
    assert (result.text, result.finish_reason) == ("The answer is", "length")
    assert "cannot continue" in result.notes["student_broken"]
    assert len(proxy.generating) == 1


@pytest.mark.parametrize("retries", [0, 1, 4])
async def test_a_broken_answer_is_resumed_as_often_as_retries_say(retries: int, proxy: FaultyProxy, make: Make) -> None:
    proxy.always = say(delta("x "))
    with pytest.raises(EngineError, match=f"gave up after {retries + 1} responses that broke") as failed:
        await Relay(make("chat-continue", retries=retries), None).agenerate("?", max_tokens=100)
    assert failed.value.transcript is not None
    assert failed.value.transcript.reader_text == "x " * (retries + 1), "what came is kept"
    assert len(proxy.generating) == retries + 1


async def test_the_rest_of_a_broken_answer_is_asked_for(proxy: FaultyProxy, make: Make) -> None:
    proxy.faults.append(say(delta("one "), then="reset"))
    proxy.faults.append(say(delta("two "), event({"error": {"code": 503}})))
    proxy.faults.append(say(delta("three"), delta(reason="stop"), DONE))
    result = await Relay(make("chat-continue"), None).agenerate("?", max_tokens=100)
    assert (result.text, result.notes["student_resumed"]) == ("one two three", 2)
    assert [request.json["messages"][-1]["content"] for request in proxy.generating[1:]] == ["one ", "one two "]


@pytest.mark.parametrize("mode", ["chat", "chat-continue"])
async def test_a_4xx_in_the_stream_is_final(mode: str, proxy: FaultyProxy, make: Make) -> None:
    for data in ([], [delta("x")]):
        proxy.requests.clear()
        proxy.always = say(*data, event({"error": {"message": "no such thing", "code": 404}}))
        with pytest.raises(EngineError, match=r"404.*no such thing"):
            await Relay(make(mode), None).agenerate("?", max_tokens=100)
        assert len(proxy.generating) == 1


# -- answers without text ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_usage", [True, False])
async def test_a_teacher_that_only_reasons_is_said_and_counted(
    has_usage: bool, proxy: FaultyProxy, make: Make, tokenizer: Tokenizer
) -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 50} if has_usage else None
    proxy.always = say(*[delta(reasoning_content="hm")] * 50, delta(reason="length", usage=usage), DONE)
    prices = Prices(teacher_input=1.0, teacher_output=10.0)
    result = await ask(make("chat"), tokenizer, prices=prices)
    assert result.text == "It is  So."
    [error] = result.failures
    assert "only reasoned (50 tokens)" in error
    assert (result.usage.teacher_tokens, result.usage.wasted_tokens) == (0, 50)
    assert result.usage.teacher_prompt_tokens == (20 if has_usage else 0)
    assert result.cost >= 50 * 10 / 1e6
    assert len(proxy.generating) == 1


async def test_reasoning_before_an_answer_is_noted(proxy: FaultyProxy, make: Make, tokenizer: Tokenizer) -> None:
    proxy.always = say(*[delta(reasoning="hm")] * 3, delta("5"), delta(reason="length"), DONE)
    result = await ask(make("chat"), tokenizer)
    assert (result.text, result.failures) == ("It is 5 So.", [])
    assert result.notes["teacher_reasoning_tokens"] == 3


@pytest.mark.parametrize("data", [[delta(reason="stop"), DONE], [DONE], [], [delta(""), DONE], [event({"a": 1}), DONE]])
@pytest.mark.parametrize("mode", ["chat", "chat-continue"])
async def test_an_empty_answer_is_an_error(data: list[bytes], mode: str, proxy: FaultyProxy, make: Make) -> None:
    proxy.always = say(*data)
    with pytest.raises(EngineError, match=r"^student: "):
        await Relay(make(mode, retries=2), None).agenerate("?")
    assert len(proxy.generating) <= 3


# -- budgets and counts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, -5, 10**400, True, 7.0, "7", None])
async def test_a_budget_holds_whatever_the_endpoint_counts(
    count: Any, proxy: FaultyProxy, make: Make, tokenizer: Tokenizer
) -> None:
    details = {"cached_tokens": 10**6}
    usage = {"prompt_tokens": 5, "completion_tokens": count, "prompt_tokens_details": details}
    proxy.always = say(*[delta("word ", usage=usage)] * 20, delta(reason="length", usage=usage), DONE)
    student = ScriptedEngine(lambda prompt: "<call>20</call>", tokenizer)
    prices = Prices(teacher_input=1.0, teacher_cached_input=0.1, teacher_output=10.0)
    result = await Relay(student, make("chat")).agenerate("?", max_tokens=60, max_calls=None, prices=prices)
    assert result.usage.completion_tokens <= 60
    assert len(proxy.generating) <= 3
    assert result.usage.teacher_tokens >= 20 * (len(proxy.generating) - 1)
    assert result.usage.teacher_cached_tokens is None
    assert result.cost > 0


@pytest.mark.parametrize("setting", ["teacher_timeout_s", "deadline_s"])
async def test_tokens_that_came_in_time_are_kept_where_the_usage_does_not_come(
    setting: str, proxy: FaultyProxy, make: Make, tokenizer: Tokenizer
) -> None:
    for data in ([delta("a"), delta("b"), delta(reason="length")], [delta("ab", "stop")], [delta("ab")]):
        proxy.always = say(*data, then="silence")
        began = time.monotonic()
        result = await ask(make("chat"), tokenizer, **{setting: 0.5})
        assert time.monotonic() - began < 1.9
        assert result.text.startswith("It is ab")
        said_to_be_over = data != [delta("ab")]
        assert bool(result.failures) is not said_to_be_over


async def test_n_tokens_are_the_answer_also_without_a_reason_and_usage(
    proxy: FaultyProxy, make: Make, tokenizer: Tokenizer
) -> None:
    proxy.always = say(delta("a"), delta("b"), then="silence")
    result = await ask(make("chat"), tokenizer, 2, teacher_timeout_s=0.5)
    assert (result.text, result.failures) == ("It is ab So.", [])


# -- tool calls ----------------------------------------------------------------------------------------------------

ARGUMENTS = {"a": "</tool_call>", "b": "<call>9</call>", "c": ["x</call>", "STOP", "\n\n"], "d": "<|im_end|>"}


@pytest.mark.parametrize("side", ["student", "teacher"])
@pytest.mark.parametrize("stop", ["STOP", "name", "}", ",", "</call>", "<tool_call>", '"'])
async def test_a_parsed_tool_call_arrives_whole(
    side: str, stop: str, proxy: FaultyProxy, make: Make, tokenizer: Tokenizer
) -> None:
    text = json.dumps(ARGUMENTS)
    parts = [{"index": 0, "id": "x", "function": {"name": "f", "arguments": text[:20]}},
             {"index": 0, "function": {"arguments": text[20:]}},
             {"index": 0, "id": "y", "function": {"name": "g", "arguments": ARGUMENTS}}]  # fmt: skip
    proxy.always = say(*[delta(tool_calls=[part]) for part in parts], delta(reason="tool_calls"), DONE)
    engine = make("chat-continue")
    if side == "student":
        relay = Relay(engine, ScriptedEngine(["never"], tokenizer))
    else:
        relay = Relay(ScriptedEngine([["<call>500</call>"]], tokenizer), engine)
    result = await relay.agenerate("?", stop=[stop], tools=[{"name": "f"}, {"name": "g"}])
    parsed = parse_answer(result.text)
    assert [(call.name, call.arguments) for call in parsed.tool_calls] == [("f", ARGUMENTS), ("g", ARGUMENTS)]
    assert parsed.content == ""
    assert len(proxy.generating) == 1


# -- mode ids ------------------------------------------------------------------------------------------------------


async def test_ids_beyond_the_vocabulary_are_a_fault(proxy: FaultyProxy, make: Make, tokenizer: Tokenizer) -> None:
    size = len(tokenizer.hf)
    proxy.always = say(event({"choices": [{"text": "", "token_ids": [size]}]}), DONE)
    teacher = make("ids", retries=1)
    teacher._adopt(Endpoint(Dialect(Mode.IDS), tokenizer))
    result = await ask(teacher, tokenizer)
    assert "wrong token ids" in result.failures[0]
    assert result.text == "It is  So."
    assert len(proxy.generating) == 2


async def test_odd_events_do_not_end_an_answer(proxy: FaultyProxy, make: Make, tokenizer: Tokenizer) -> None:
    deep = '{"choices":' + "[" * 100_000
    logprobs = '"logprobs": {"token_logprobs": [-1' + "0" * 400 + "]}"
    logprobs = '{"choices": [{"text": "!", "token_ids": [0], "finish_reason": "length", ' + logprobs + "}]}"
    for data in (event(deep), event({"choices": 7}), event(logprobs), event("1" * 5000), b"data: {\n\n"):
        proxy.always = say(data, DONE)
        for teacher in (make("chat", retries=1), make("ids", retries=1)):
            if teacher.mode is Mode.IDS:
                teacher._adopt(Endpoint(Dialect(Mode.IDS), tokenizer))
            result = await ask(teacher, tokenizer)
            assert result.text.endswith(" So.")


async def test_cancelling_while_the_usage_is_awaited_is_quick(proxy: FaultyProxy, make: Make) -> None:
    proxy.always = say(delta("ab", "stop"), then="silence")
    engine = make("chat")
    chunks = engine.stream(Prompt("", None, [{"role": "user", "content": "?"}]), Sampling(9))
    assert [token.text for token in (await anext(chunks)).tokens] == ["ab"]
    began = time.monotonic()
    await asyncio.wait_for(chunks.aclose(), 1)
    assert time.monotonic() - began < 0.5
