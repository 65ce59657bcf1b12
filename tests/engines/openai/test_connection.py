"""The HTTP connections: to a real server, and to servers that send what no honest one does."""

from __future__ import annotations

import asyncio
import gzip
import sys
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from relay_core import OpenAIEngine, Relay, RelayError, RelaySettings, ScriptedEngine, bundled
from relay_core.engines.openai import transport
from relay_core.engines.openai.address import Address, secret_key
from relay_core.engines.openai.connection import Connection
from relay_core.engines.openai.faults import Fault, RequestRefused
from relay_core.engines.openai.http_errors import Unreachable
from relay_core.engines.openai.retries import Patience
from relay_core.engines.openai.transport import MAX_BODY_BYTES
from testing.loopback import Request, http_response, loopback
from testing.scripted_server import answer
from testing.servers import free_port, scripted_server


async def test_a_connection_that_the_server_closes_is_not_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay_core.engines.openai.connection._KEEP_ALIVE_S", 0.2)  # a server takes longer to start
    port = free_port()
    student, teacher = (
        OpenAIEngine(role, f"http://127.0.0.1:{port}/v1", tokenizer=str(bundled.path("teacher")), retries=0)
        for role in ("student", "teacher")
    )
    relay = Relay(student, teacher, RelaySettings(on_teacher_stop="continue"))
    try:
        for batch in range(2):  # another server each: the first closes the connections while this event loop is blocked
            with scripted_server(tmp_path / f"log{batch}", port=port):
                items = range(20 * batch, 20 * batch + 20)
                results = await asyncio.gather(*(relay.agenerate(f"Tell me of Item {item}.") for item in items))
                assert [result.text for result in results] == [answer(item) for item in items]
                assert not any(result.failures for result in results)
    finally:
        await student.aclose()
        await teacher.aclose()


# -- what may come back --------------------------------------------------------------------------------------------


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[Connection]:
    """A connection to a server of the test."""
    connection = Connection(Address(model="m", base_url=url, api_key=secret_key("sk-key", None), **options), Patience())
    try:
        yield connection
    finally:
        await connection.aclose()


async def endless(head: str, part: bytes) -> AsyncGenerator[bytes, None]:
    """A response without an end."""
    yield head.encode() + b"\r\n\r\n"
    while True:
        yield part


def zipped(body: bytes, encoding: str = "gzip") -> bytes:
    packed = gzip.compress(body) if encoding.endswith("gzip") else zlib.compress(body)
    return http_response(packed, headers={"content-encoding": encoding})


JSON_HEAD = "HTTP/1.1 200 OK\r\ncontent-type: application/json"


@pytest.mark.parametrize(
    ("answer", "match"),
    [(lambda _: endless(JSON_HEAD, b" " * 2**16), "more than"),
     (lambda _: endless("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream", b"x" * 2**16), "more than"),
     (lambda _: http_response(b" " * (MAX_BODY_BYTES + 1)), "more than"),
     (lambda _: zipped(b" " * (MAX_BODY_BYTES + 1)), "more than"),
     (lambda _: zipped(b" " * (MAX_BODY_BYTES + 1), "deflate"), "more than"),
     (lambda _: zipped(b" " * (MAX_BODY_BYTES + 1), "x-gzip"), "more than"),
     (lambda _: http_response(b"x", headers={"content-encoding": "br"}), "encoding 'br', which was not asked for"),
     (lambda _: http_response(b"x", headers={"content-encoding": "zstd"}), "not asked for"),
     (lambda _: http_response(b"x", headers={"content-encoding": "gzip, gzip"}), "asked for"),
     (lambda _: http_response(b"no gzip", headers={"content-encoding": "gzip"}), "cannot be unpacked"),
     (lambda _: http_response(gzip.compress(b"{}" * 9)[:-9], headers={"content-encoding": "gzip"}), "cannot be read"),
     (lambda _: http_response("{}", headers={"x-y": "z" * 100_000}), "could not be reached or broke off")],
)  # fmt: skip
@pytest.mark.parametrize("ask", ["get", "post"])
async def test_every_response_is_bounded_after_unpacking(answer: Any, match: str, ask: str) -> None:
    async with loopback(answer) as server, connected(server.url) as connection:
        with pytest.raises(Fault, match=match):
            await (connection.get("/models") if ask == "get" else connection.post("/completions", {}))


async def test_a_packed_response_of_ordinary_size_is_read() -> None:
    for encoding in ("gzip", "x-gzip", "deflate", "GZIP"):
        async with (
            loopback(lambda _, e=encoding: zipped(b'{"a": 1}', e)) as server,
            connected(server.url) as connection,
        ):
            assert await connection.get("/models") == {"a": 1}
            assert server.requests[0].headers["accept-encoding"] == "identity"


async def test_the_body_of_an_error_is_cut() -> None:
    def answer(_: Request) -> Any:
        return endless("HTTP/1.1 400 Bad", b"no " * 2**14)

    async with loopback(answer) as server, connected(server.url) as connection:
        with pytest.raises(RequestRefused, match="answered 400: no no"):
            await connection.get("/models")


async def test_a_packed_stream_that_unpacks_to_too_much_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_UNPACKED_BYTES", 2**20)
    bomb = gzip.compress(b": nothing\n\n" * 2**18)
    packed = http_response(bomb, headers={"content-encoding": "gzip"}, kind="text/event-stream")
    async with loopback(lambda _: packed) as server, connected(server.url) as connection:
        with pytest.raises(Fault, match="more than"):
            await connection.drain("/completions", {"prompt": "x"})


# -- where requests go ---------------------------------------------------------------------------------------------


def redirect(target: str, status: int = 307) -> bytes:
    return http_response("", status, {"location": target})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_another_origin_is_not_followed(status: int) -> None:
    async with loopback(lambda _: http_response("{}")) as other:
        port = other.url.split(":")[2].split("/")[0]
        targets = [other.url, f"http://localhost:{port}/v1", f"https://127.0.0.1:{port}/", f"//127.0.0.1:{port}/",
                   f"http://user:secretpw@127.0.0.1:{port}/?k=secretpw", "https://127.0.0.1/"]  # fmt: skip
        for target in targets:
            async with (
                loopback(lambda _, to=target: redirect(to, status)) as server,
                connected(server.url, headers={"x-key": "secret"}) as connection,
            ):
                for work in (connection.get("/models"), connection.post("/x", {"messages": ["secret"]})):
                    with pytest.raises(RequestRefused, match=r"redirects to .* another origin") as refused:
                        await work
                    assert "secretpw" not in str(refused.value)
        assert other.requests == []


async def test_a_redirect_on_the_same_origin_is_followed_a_few_times() -> None:
    def answer(request: Request) -> bytes:
        return http_response('{"a": 1}') if request.target == "/v2/models" else redirect("/v2/models")

    async with loopback(answer) as server, connected(server.url) as connection:
        assert await connection.get("/models") == {"a": 1}
        assert [request.headers["authorization"] for request in server.requests] == ["Bearer sk-key"] * 2
    async with loopback(lambda _: redirect("/v1/models")) as server, connected(server.url) as connection:
        with pytest.raises(Fault):
            await connection.get("/models")
        assert len(server.requests) < 6


@pytest.mark.parametrize("name", ["OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"])
async def test_nothing_of_the_environment_is_sent_to_another_endpoint(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "x-leak: environs")
    async with loopback(lambda _: http_response("{}")) as server, connected(server.url) as connection:
        await connection.get("/models")
        assert "environs" not in str(server.requests)


async def test_no_key_is_no_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    async with loopback(lambda _: http_response("{}")) as server:
        connection = Connection(Address(model="m", base_url=server.url, api_key=secret_key("", None)), Patience())
        await connection.get("/models")
        await connection.aclose()
        assert "authorization" not in server.requests[0].headers


async def test_headers_and_query_are_sent() -> None:
    options = {"headers": {"Authorization": "Basic xyz", "x-a": "1"}, "query": {"api-version": "2024 01"}}
    async with loopback(lambda _: http_response("{}")) as server, connected(server.url, **options) as connection:
        await connection.get("/models")
        await connection.post("/x", {"b": 2})
        for request in server.requests:
            assert (request.headers["authorization"], request.headers["x-a"]) == ("Basic xyz", "1")
            assert request.target.endswith("?api-version=2024+01")
        assert server.requests[1].json == {"b": 2}


# -- proxies and certificates --------------------------------------------------------------------------------------

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Sets a variable; no other proxy is set."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch.setenv


@pytest.mark.parametrize(
    ("name", "value", "url"),
    [("ALL_PROXY", "socks4://u:secretpw@host:1", "http://example.com/v1"),
     ("ALL_PROXY", "socks5://u:secretpw@host:1", "http://example.com/v1"),
     ("all_proxy", "socks5h://u:secretpw@host:1", "https://example.com/v1"),
     ("HTTPS_PROXY", "socks5://host:1", "https://example.com/v1"),
     ("HTTP_PROXY", "ftp://u:secretpw@host:1", "http://example.com/v1"),
     ("HTTP_PROXY", "http://u:secretpw@host:port", "http://example.com/v1"),
     ("HTTP_PROXY", "http://", "http://example.com/v1"),
     ("HTTP_PROXY", "u:secretpw@", "http://example.com/v1"),
     ("HTTP_PROXY", "ht tp://x", "http://example.com/v1"),
     ("HTTP_PROXY", "http://[::1", "http://example.com/v1"),
     ("SSL_CERT_FILE", "/nowhere.pem", "https://example.com/v1"),
     ("SSL_CERT_FILE", __file__, "https://example.com/v1")],
)  # fmt: skip
async def test_what_the_environment_names_is_refused_by_the_variables_name(
    name: str, value: str, url: str, environment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)  # as if it were not installed
    environment(name, value)
    engine = OpenAIEngine("m", url, api_key="k", retries=0)
    with pytest.raises(RelayError, match=name.upper()) as refused:
        await engine.start()
    assert "secretpw" not in str(refused.value)
    student = ScriptedEngine([["It is <call>3</call>"], ["4."]])
    result = await Relay(student, engine).agenerate("Hi")
    assert result.text == "It is 4."
    assert name.upper() in result.failures[0]


async def test_a_proxy_that_does_not_concern_the_endpoint_is_not_looked_at(environment: Any) -> None:
    async with loopback(lambda _: http_response("{}")) as server:
        for name, value in (("HTTPS_PROXY", "socks4://x"), ("FTP_PROXY", "socks4://x"), ("SSL_CERT_FILE", "/nowhere")):
            environment(name, value)
        async with connected(server.url) as connection:
            assert await connection.get("/models") == {}
        environment("ALL_PROXY", "socks5://x")
        for no_proxy in ("*", "127.0.0.1", "localhost, 127.0.0.1", server.url.split("/")[2]):
            environment("NO_PROXY", no_proxy)
            async with connected(server.url) as connection:
                assert await connection.get("/models") == {}


async def test_a_proxy_is_used_and_named_when_it_cannot_be_reached(environment: Any) -> None:
    async with loopback(lambda _: http_response('{"by": "proxy"}')) as proxy:
        host = proxy.url.split("/")[2]
        for value in (f"http://user:pass@{host}", f"user:pass@{host}"):
            environment("HTTP_PROXY", value)
            async with connected("http://example.invalid/v1") as connection:
                assert await connection.get("/models") == {"by": "proxy"}
        async with connected("http://example.invalid/v1", proxy=f"http://user:pass@{host}") as connection:
            assert await connection.get("/models") == {"by": "proxy"}
        assert {request.headers["proxy-authorization"] for request in proxy.requests} == {"Basic dXNlcjpwYXNz"}
    environment("HTTP_PROXY", "http://user:pass@127.0.0.1:9")
    async with connected("http://example.invalid/v1") as connection:
        with pytest.raises(Unreachable, match=r"through the proxy of HTTP_PROXY \(http://127.0.0.1:9\)"):
            await connection.get("/models")
