"""Every exception of another library becomes ours: by listing the classes, not by examples."""

from __future__ import annotations

import asyncio
import builtins
import json
import ssl
import traceback
from collections.abc import AsyncGenerator, Iterator
from types import ModuleType
from typing import Any

import aiohttp
import anyio
import httpcore
import httpx
import openai
import pytest

from relay_core.engines.base import Prompt, Sampling, Warming
from relay_core.engines.openai import OpenAIEngine, connection
from relay_core.engines.openai.address import Address, secret_key
from relay_core.engines.openai.faults import Fault, RequestRefused
from relay_core.engines.openai.http_errors import Unreachable, at_the_edge, call_at_the_edge, translated
from relay_core.engines.openai.redaction import ForeignError
from relay_core.errors import ConfigurationError, ContextOverflow, EngineError, RelayError
from testing.loopback import http_response, loopback

SECRET = "sk-planted-0123456789"
ADDRESS = Address(model="m", base_url="http://host:1/v1", api_key=secret_key(SECRET, None), role="teacher")
MODULES: tuple[ModuleType, ...] = (httpx, httpcore, aiohttp, openai, anyio, ssl, asyncio, json, builtins)


def exception_classes() -> Iterator[type[Exception]]:
    """Every exception that the libraries below an engine name."""
    found = {
        value
        for module in MODULES
        for value in list(vars(module).values())
        if isinstance(value, type) and issubclass(value, Exception) and not issubclass(value, Warning)
    }
    yield from sorted(found, key=lambda kind: (kind.__module__, kind.__qualname__))


CLASSES = list(exception_classes())


def made(kind: type[Exception]) -> Exception:
    """An exception of a class whose constructor is not known, with the secret in it and behind it."""
    if issubclass(kind, ExceptionGroup):
        return kind(SECRET, [ValueError(SECRET)])
    error = kind.__new__(kind, SECRET)
    error.args = (SECRET,)
    error.request = httpx.Request("POST", f"http://host/?key={SECRET}", headers={"authorization": SECRET})
    error.__cause__ = OSError(SECRET)
    return error


def checked(error: BaseException) -> RelayError:
    """An error of ours whose whole chain holds no foreign exception and no secret."""
    assert isinstance(error, RelayError)
    link: BaseException | None = error
    while link is not None:
        assert isinstance(link, (RelayError, ForeignError))
        assert SECRET not in repr(vars(link)) + repr(link) + str(link)
        assert link.__context__ in (None, link.__cause__)
        link = link.__cause__
    assert SECRET not in "".join(traceback.format_exception(error))
    return error


def test_the_list_is_not_empty() -> None:
    assert len(CLASSES) > 120
    assert {httpx.ConnectError, aiohttp.ClientError, openai.APIStatusError, PermissionError, RecursionError} < {
        *CLASSES
    }


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
async def test_an_exception_of_any_class_becomes_ours_at_every_edge(kind: type[Exception]) -> None:
    async def work() -> None:
        raise made(kind)

    async def chunks() -> AsyncGenerator[int, None]:
        yield 1
        raise made(kind)

    for edge in (translated, call_at_the_edge):
        with pytest.raises(EngineError) as caught:
            await edge(ADDRESS, work())
        checked(caught.value)
    with pytest.raises(EngineError) as caught:
        assert [chunk async for chunk in at_the_edge(ADDRESS, chunks())] == []
    assert type(checked(caught.value)) is EngineError


async def test_cancellation_and_interrupts_are_not_translated() -> None:
    for kind in (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit, SystemExit):

        async def work(kind: type[BaseException] = kind) -> None:
            raise kind

        with pytest.raises(kind):
            await translated(ADDRESS, work())


async def test_errors_of_ours_keep_their_type_and_lose_their_foreign_causes() -> None:
    for error in (ContextOverflow(SECRET), ConfigurationError(f"a\nb\x1b[31m {SECRET}")):

        async def work(error: RelayError = error) -> None:
            try:
                raise made(httpx.ReadError)
            except httpx.ReadError as cause:
                raise error from cause

        with pytest.raises(type(error)) as caught:
            await call_at_the_edge(ADDRESS, work())
        assert "\n" not in checked(caught.value).message and "\x1b" not in caught.value.message


class _Broken:
    """Connections that fail with one exception, whatever is asked of them."""

    error: Exception

    def __init__(self, *args: Any) -> None:
        pass

    async def get(self, *args: Any) -> Any:
        raise self.error

    post = drain = open = aclose = get


CAUSES = [OSError, PermissionError, RecursionError, UnicodeError, RuntimeError, MemoryError, AssertionError]
CAUSES += [httpx.ReadError, aiohttp.ClientError, openai.OpenAIError, ssl.SSLError]


@pytest.mark.parametrize("kind", CAUSES)
@pytest.mark.parametrize("method", ["start", "stream", "warm_stream", "aclose"])
async def test_every_method_of_an_engine_raises_ours_only(
    kind: type[Exception], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay_core.engines.openai.loop_client.Connection", _Broken)
    monkeypatch.setattr(_Broken, "error", made(kind), raising=False)
    engine = OpenAIEngine("m", "http://host:1/v1", api_key=SECRET, retries=0)
    prompt, sampling = Prompt("Hi", None, [{"role": "user", "content": "Hi"}]), Sampling(4)
    engine._client()
    calls = {
        "start": engine.start,
        "stream": lambda: anext(engine.stream(prompt, sampling)),
        "warm_stream": lambda: anext(engine.warm_stream(prompt, sampling, Warming())),
        "aclose": engine.aclose,
    }
    with pytest.raises(EngineError) as caught:
        await calls[method]()
    checked(caught.value)


@pytest.mark.parametrize(
    "options",
    [{"headers": 5}, {"headers": {"a": 5j}}, {"headers": {5: "a"}}, {"headers": {"a b": "c"}}, {"headers": {"a": "ü"}},
     {"headers": {"a": "x\ny"}}, {"query": 5}, {"query": {"a": object()}}, {"verify": 7}, {"verify": "/nowhere"},
     {"verify": "\0"}, {"proxy": 7}, {"proxy": ""}, {"proxy": "host:3128"}, {"proxy": "ftp://host"}, {"proxy": "http://"},
     {"proxy": "http://host:x"}, {"proxy": "socks4://host:1"}, {"proxy": "http://host:99999"}, {"role": "x"},
     {"role": []}, {"mode": []}, {"patience": 5}, {"api_key": 5}, {"api_key": b"k"}, {"api_key": "a\nb"},
     {"model": 5}, {"base_url": None}, {"base_url": 5}, {"base_url": "http://"}, {"base_url": "http://h:x/v1"},
     {"base_url": "http://[::1"}, {"base_url": "http://h:0/v1"}, {"base_url": "http://a b/v1"}, {"base_url": "http://h\n/v1"},
     {"stream_interval": "x"}, {"retries": None}, {"max_in_flight": 0}],
    ids=str,
)  # fmt: skip
def test_an_argument_that_cannot_be_used_is_refused_by_its_name(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=rf"\b{next(iter(options))}\b"):
        OpenAIEngine(**{"model": "m", "base_url": "http://localhost:1/v1", **options})


@pytest.mark.parametrize("body", ["[" * 200_000, '{"a":' * 100_000, "1" * 9000, "not json", "\x00", ""])
async def test_an_answer_that_cannot_be_read_is_a_fault(body: str) -> None:
    async with loopback(lambda request: http_response(body)) as server:
        address = Address(model="m", base_url=server.url, api_key=secret_key("k", None))
        client = connection.Connection(address, OpenAIEngine("m", server.url, api_key="k").patience)
        with pytest.raises(Fault, match="sent what cannot be read"):
            await client.get("/models")
        await client.aclose()


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 410, 413, 422, 429, 451, 500, 502, 503, 599])
async def test_a_servers_words_are_one_line_without_the_key_or_escape_codes(status: int) -> None:
    words = f"bad\r\nkey {SECRET}\x1b[2J\x1b]0;title\x07\u2028\u202egnol " + "x" * 5000
    for body in (words, json.dumps({"error": {"message": words}}), json.dumps({"detail": [words]}), f"<b>{words}</b>"):
        async with loopback(lambda request, body=body: http_response(body, status)) as server:
            address = Address(model="m", base_url=server.url, api_key=secret_key(SECRET, None))
            client = connection.Connection(address, OpenAIEngine("m", server.url, api_key="k").patience)
            with pytest.raises((Fault, RequestRefused)) as caught:
                await client.get("/models")
            checked(caught.value)
            assert not isinstance(caught.value, Unreachable)
            assert caught.value.message.isprintable() and len(caught.value.message) < 700
            assert "***" in caught.value.message
            await client.aclose()
