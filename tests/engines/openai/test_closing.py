"""An engine that is closed while it answers: its answers end at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from relay_core.engines.base import Prompt, Sampling, Warming
from relay_core.engines.openai import OpenAIEngine
from relay_core.errors import EngineError
from testing.loopback import Answer, Request, chat_endpoint, http_response, loopback, words

PROMPT, SAMPLING = Prompt("", None, [{"role": "user", "content": "Hi"}]), Sampling(50)


async def silent(head: bytes = b"") -> AsyncGenerator[bytes, None]:
    yield head
    await asyncio.sleep(3600)


EVENT_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
DELTA = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'

STATES: dict[str, Any] = {
    "before the headers": chat_endpoint(lambda _: silent()),
    "before the first token": chat_endpoint(lambda _: silent(EVENT_STREAM)),
    "between two tokens": chat_endpoint(lambda _: silent(EVENT_STREAM + DELTA)),
    "before a retry": chat_endpoint(lambda _: http_response("busy", 503, {"retry-after": "60"})),
    "while it is asked what it can do": lambda _: silent(),
    "while it is asked in vain": lambda _: http_response("busy", 503, {"retry-after": "60"}),
}


def opened(answer: Any) -> Any:
    """An endpoint that opens its first stream, for the probing, and answers later ones as the state demands."""
    streams: list[Request] = []

    def respond(request: Request) -> Answer:
        if request.content and request.json.get("stream"):
            streams.append(request)
            if len(streams) == 1:
                return words("1")
        result: Answer = answer(request)
        return result

    return respond


async def read_all(chunks: AsyncGenerator[Any, None], received: asyncio.Event | None = None) -> None:
    async for _ in chunks:
        if received is not None:
            received.set()


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("warmed", [False, True])
async def test_answers_end_at_once_when_the_engine_is_closed(state: str, warmed: bool) -> None:
    async with loopback(opened(STATES[state])) as server:
        engine = OpenAIEngine("m", server.url, api_key="k", first_token_s=300, backoff_s=60, backoff_max_s=60)
        warming = Warming()
        if warmed and state == "between two tokens":
            warming.want(40)
        answers = [
            asyncio.ensure_future(
                read_all(engine.warm_stream(PROMPT, SAMPLING, warming) if warmed else engine.stream(PROMPT, SAMPLING))
            )
            for _ in range(8)
        ]
        await asyncio.sleep(0.7)
        assert not any(answer.done() for answer in answers)
        before = asyncio.get_running_loop().time()
        await engine.aclose()
        outcomes = await asyncio.wait_for(asyncio.gather(*answers, return_exceptions=True), 2)
        assert asyncio.get_running_loop().time() - before < 1
        assert all(type(outcome) is EngineError and "was closed" in str(outcome) for outcome in outcomes), outcomes


async def test_an_answer_that_is_read_later_ends_too_and_the_engine_starts_again() -> None:
    async with loopback(chat_endpoint(lambda _: words("a", "b", "c"))) as server:
        engine = OpenAIEngine("m", server.url, api_key="k")
        chunks = engine.stream(PROMPT, SAMPLING)
        await anext(chunks)
        await engine.aclose()
        with pytest.raises(EngineError, match="was closed while it answered"):
            await read_all(chunks)
        await read_all(engine.stream(PROMPT, SAMPLING))
        await engine.aclose()


async def test_an_engine_that_is_closed_from_another_loop_ends_its_answers() -> None:
    async with loopback(opened(STATES["before the first token"])) as server:
        engine = OpenAIEngine("m", server.url, api_key="k")
        answer = asyncio.ensure_future(read_all(engine.stream(PROMPT, SAMPLING)))
        await asyncio.sleep(0.5)
        await asyncio.to_thread(asyncio.run, engine.aclose())
        with pytest.raises(EngineError, match="was closed"):
            await asyncio.wait_for(answer, 2)


async def test_a_cancelled_answer_is_cancelled_and_not_an_error() -> None:
    async with loopback(opened(STATES["between two tokens"])) as server:
        engine = OpenAIEngine("m", server.url, api_key="k")
        received = asyncio.Event()
        answer = asyncio.ensure_future(read_all(engine.stream(PROMPT, SAMPLING), received))
        await received.wait()
        answer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answer
        await engine.aclose()
