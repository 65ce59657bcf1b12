"""Warmed streams of a real vLLM server behind the faulty proxy, in every mode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay_core.engines.base import BreakerState, Finish, Prompt, Sampling, Warming, Waste
from relay_core.engines.in_flight import LIGHT_BELOW, REQUESTS_PER_TOKEN
from relay_core.engines.openai import OpenAIEngine
from relay_core.engines.openai.protocol import Mode
from relay_core.engines.openai.retries import Patience
from relay_core.engines.scripted import Delay, ScriptedEngine
from relay_core.relay import Relay
from relay_core.tokenizer import Tokenizer
from testing.faults import cut_after, headers_then_silence, status
from testing.faulty_proxy import FaultyProxy
from testing.streams import collect

pytestmark = pytest.mark.timeout(500)  # the first test waits for the server

STUDENT = [["It is <call>", Delay(0.3), "5</call>"], [" So <call>3</call>"], ["."]]


@pytest.fixture(params=list(Mode))
async def engine(request: Any, proxy: FaultyProxy, tokenizer: Tokenizer) -> AsyncIterator[OpenAIEngine]:
    """A started engine, in every mode."""
    engine = OpenAIEngine("tiny", proxy.url, mode=request.param, tokenizer=tokenizer, first_token_s=300, backoff_s=0.01)
    await engine.start()
    proxy.requests.clear()
    yield engine
    await engine.aclose()


ids_only = pytest.mark.parametrize("engine", [Mode.IDS], indirect=True)


def set_patience(engine: OpenAIEngine, **options: Any) -> None:
    engine.patience = Patience(**{"first_token_s": 300.0, "backoff_s": 0.01, **options})


@pytest.mark.parametrize("n", [1, 5, 40])
async def test_a_warmed_stream_is_the_same_as_one_for_n_tokens(
    engine: OpenAIEngine, prompt: Prompt, proxy: FaultyProxy, n: int
) -> None:
    expected, whole = await collect(engine, prompt, Sampling(n))
    waste = Waste()
    warming = Warming(waste)
    task = asyncio.ensure_future(collect(engine, prompt, Sampling(40), warming))
    while len(proxy.generating) < 2 or engine._client().gate._value < engine.patience.max_in_flight:
        await asyncio.sleep(0.01)  # until the whole response has arrived
    assert not task.done()
    warming.want(n)
    tokens, last = await task
    if engine.mode is Mode.IDS:
        assert [t.id for t in tokens] == [t.id for t in expected]
    else:  # an event may hold the text of several tokens, whose number is then counted by encoding it
        texts = ["".join(t.text for t in each) for each in (tokens, expected)]
        assert min(texts, key=len) and max(texts, key=len).startswith(min(texts, key=len))
    assert last.finish is Finish.LENGTH
    assert last.usage is not None and whole.usage is not None
    assert last.usage.prompt_tokens == whole.usage.prompt_tokens
    assert last.usage.completion_tokens == n
    if engine.mode is Mode.IDS:
        assert (waste.requests, waste.tokens) == (0, 40 - n), "every token that arrived is counted"
    else:  # a request for one token made the endpoint read the prompt; the real request followed
        assert (waste.requests, waste.prompt_tokens, waste.tokens) == (1, whole.usage.prompt_tokens, 1)


async def test_a_dropped_stream_is_cancelled_at_the_server_and_counted(
    engine: OpenAIEngine, prompt: Prompt, proxy: FaultyProxy
) -> None:
    proxy.always = headers_then_silence
    waste = Waste()
    task = asyncio.ensure_future(collect(engine, prompt, Sampling(40), Warming(waste)))
    while not proxy.generating:
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(1):
        while proxy.generating[0].abandoned_at is None:
            await asyncio.sleep(0.01)
    assert (waste.requests, waste.prompt_tokens, waste.tokens) == (1, len(prompt.token_ids or ()), 0)


async def test_the_answer_is_the_same(engine: OpenAIEngine, tokenizer: Tokenizer, proxy: FaultyProxy) -> None:
    relay = Relay(ScriptedEngine(STUDENT, tokenizer), engine)
    cold = await relay.agenerate("Add 2 and 3.", warming="off")
    cold_requests = len(proxy.generating)
    warm = await relay.agenerate("Add 2 and 3.", warming="on")
    assert (warm.segments, warm.text, warm.finish_reason) == (cold.segments, cold.text, cold.finish_reason)
    assert warm.usage.teacher_prompt_tokens == cold.usage.teacher_prompt_tokens
    assert cold_requests == cold.usage.calls == 2
    assert len(proxy.generating) - cold_requests == warm.usage.calls + warm.usage.wasted_requests
    assert engine.warms is (engine.mode is Mode.IDS), "only where wasted tokens are free"


@ids_only
async def test_a_busy_teacher_is_not_warmed(engine: OpenAIEngine, prompt: Prompt, proxy: FaultyProxy) -> None:
    await engine.start()
    proxy.always = headers_then_silence
    tasks = [asyncio.ensure_future(collect(engine, prompt, Sampling(9))) for _ in range(LIGHT_BELOW)]
    warms_so_far = []
    while len(proxy.generating) < LIGHT_BELOW:
        warms_so_far.append(engine.warms)
        await asyncio.sleep(0.01)
    assert warms_so_far[0] and not engine.warms
    tasks.pop().cancel()
    async with asyncio.timeout(1):
        while not engine.warms:
            await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@ids_only
async def test_a_busy_endpoint_sends_several_tokens_at_a_time(
    engine: OpenAIEngine, prompt: Prompt, proxy: FaultyProxy
) -> None:
    alone, _ = await collect(engine, prompt, Sampling(30))
    assert "stream_interval" not in proxy.generating[-1].json
    requests_before = len(proxy.generating)
    answers = await asyncio.gather(*(collect(engine, prompt, Sampling(30)) for _ in range(32)))
    assert all([t.id for t in tokens] == [t.id for t in alone] for tokens, _ in answers)
    intervals = [request.json.get("stream_interval", 1) for request in proxy.generating[requests_before:]]
    assert (min(intervals), max(intervals)) == (1, 1 + 32 // REQUESTS_PER_TOKEN)


@ids_only
async def test_a_warmed_stream_that_breaks_is_resumed(engine: OpenAIEngine, prompt: Prompt, proxy: FaultyProxy) -> None:
    expected, _ = await collect(engine, prompt, Sampling(9))
    proxy.faults += [status(500), cut_after(4)]
    warming = Warming()
    task = asyncio.ensure_future(collect(engine, prompt, Sampling(40), warming))
    await asyncio.sleep(0.3)
    warming.want(9)
    tokens, last = await task
    assert [t.id for t in tokens] == [t.id for t in expected]
    assert last.notes == {"resumed": 1}
    assert last.usage is not None
    assert last.usage.prompt_tokens == 2 * len(prompt.token_ids or ()), "two responses read it"
    assert proxy.generating[-1].json["max_tokens"] == 40 - 4


@ids_only
async def test_the_request_that_loses_is_counted(engine: OpenAIEngine, prompt: Prompt, proxy: FaultyProxy) -> None:
    set_patience(engine, hedge_after_s=0.2)
    proxy.faults.append(headers_then_silence)
    _, last = await collect(engine, prompt, Sampling(3))
    waste = last.waste
    assert last.notes == {"hedged": 1}
    assert waste is not None
    assert (waste.requests, waste.prompt_tokens) == (1, len(prompt.token_ids or ()))
    async with asyncio.timeout(1):
        while proxy.generating[0].abandoned_at is None:
            await asyncio.sleep(0.01)


@ids_only
async def test_the_result_shows_the_breaker(engine: OpenAIEngine, tokenizer: Tokenizer, proxy: FaultyProxy) -> None:
    engine._breaker._after = 1
    set_patience(engine, retries=0)
    proxy.always = status(500)
    result = await Relay(ScriptedEngine(STUDENT, tokenizer), engine).agenerate("Add 2 and 3.")
    assert result.text == "It is  So ."
    assert [call.breaker for call in result.calls] == [BreakerState.OPEN, BreakerState.OPEN]
    assert "not asked: the circuit breaker is open" in result.failures[1]
    assert (result.breaker, len(proxy.generating)) == (BreakerState.OPEN, 1)


@ids_only
async def test_waiting_for_a_turn_ends_at_the_deadline(engine: OpenAIEngine, prompt: Prompt) -> None:
    set_patience(engine, total_s=0.3)
    for _ in range(engine.patience.max_in_flight):
        await engine._client().gate.acquire()
    task = asyncio.ensure_future(collect(engine, prompt, Sampling(3)))
    await asyncio.wait([task], timeout=5)
    assert "no turn came" in str(task.exception())
