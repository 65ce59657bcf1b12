"""An HTTP proxy between a client and a real server, which does to their traffic what networks and servers do.

    async with FaultyProxy("http://127.0.0.1:8000") as proxy:
        proxy.faults += [status(500), status(429, {"Retry-After": "2"}), cut_after(3)]
        ... point the client at proxy.url ...

A fault is an async function of an :class:`Exchange`; each one in ``faults`` is used for one generating request
(a streamed POST), in order, ``always`` for all others; without one, traffic passes through. ``delay_s`` delays every
request. ``down`` and ``up`` are the server's death and return.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass
class Request:
    """What the client sent, when it began (``time.monotonic``), and whether it went away before the end."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)
    abandoned_at: float | None = None

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body) if self.body else {}

    @property
    def generates(self) -> bool:
        """Whether it asks for a stream of tokens."""
        return self.method == "POST" and bool(self.json.get("stream"))


class Exchange:
    """One request and the way to answer it."""

    def __init__(self, proxy: FaultyProxy, request: Request, writer: asyncio.StreamWriter) -> None:
        self.proxy, self.request, self.writer = proxy, request, writer

    async def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        lines = [f"HTTP/1.1 {status} X", *(f"{k}: {v}" for k, v in headers.items()), f"Content-Length: {len(body)}"]
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    async def begin(self, status: int = 200, content_type: str = "text/event-stream") -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        await self.send(head.encode())

    async def chunk(self, data: bytes) -> None:
        if data:
            await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def end(self) -> None:
        await self.send(b"0\r\n\r\n")

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    @contextlib.asynccontextmanager
    async def upstream(self, body: Mapping[str, Any] | None = None) -> AsyncIterator[httpx.Response]:
        """The real server's answer to this request, or to ``body`` in its place."""
        skip = ("host", "content-length", "connection", "accept-encoding")
        headers = {k: v for k, v in self.request.headers.items() if k not in skip}
        content = self.request.body if body is None else json.dumps(body).encode()
        request = self.proxy.client.build_request(
            self.request.method, self.proxy.upstream + self.request.path, headers=headers, content=content
        )
        response = await self.proxy.client.send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    async def events(self, body: Mapping[str, Any] | None = None) -> AsyncIterator[bytes]:
        """The real server's events, one at a time and one for each id, with their blank line; begins the answer."""
        async with self.upstream(body) as response:
            await self.begin(response.status_code, response.headers.get("content-type", "text/plain"))
            rest = b""
            async for data in response.aiter_raw():
                *events, rest = (rest + data).split(b"\n\n")
                for event in events:
                    for part in _by_id(event):
                        yield part + b"\n\n"
            if rest:
                yield rest

    def reset(self) -> None:
        """Break the connection as a dying host does: RST, not FIN."""
        sock = self.writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.writer.transport.abort()


def _by_id(event: bytes) -> Iterator[bytes]:
    """An event that tells of several ids, as a server that has much to do sends it, as one of each; text at the end."""
    payload = json.loads(event[6:]) if event.startswith(b"data: {") else {}
    for choice in payload.get("choices", ())[:1]:
        *ids, last = choice.get("token_ids") or [None]
        for i in ids:
            early = {
                **choice,
                "text": "",
                "token_ids": [i],
                "logprobs": None,
                "finish_reason": None,
                "stop_reason": None,
            }
            yield b"data: " + json.dumps({**payload, "choices": [early], "usage": None}).encode()
        if ids:
            choice.update(token_ids=[last], logprobs=None)
            event = b"data: " + json.dumps(payload).encode()
    yield event


Fault = Callable[[Exchange], Awaitable[None]]


class FaultyProxy:
    """See the module's head; ``requests`` holds all that came, ``generating`` the streamed ones among them."""

    def __init__(self, upstream: str, *, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.upstream = upstream.rstrip("/")
        self.faults: deque[Fault] = deque()
        self.always: Fault | None = None
        self.delay_s = 0.0
        self.requests: list[Request] = []
        self._tls, self._port, self._alive = tls, port, False
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The base URL to give to a client."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}/v1"

    @property
    def generating(self) -> list[Request]:
        return [request for request in self.requests if request.generates]

    async def __aenter__(self) -> FaultyProxy:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        self.client = httpx.AsyncClient(timeout=None, limits=limits, trust_env=False)
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()
        await self.client.aclose()

    async def up(self) -> None:
        """Listen, on the same port as before."""
        self._alive = True
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, ssl=self._tls, backlog=1024)
        self._port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Stop listening, and break every connection."""
        assert self._server is not None
        self._alive = False
        self._server.close()
        while self._serving:
            for task in list(self._serving):
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._alive:  # accepted while going down
            writer.transport.abort()
            return
        task = asyncio.ensure_future(self._connection(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await self._read(reader)) is not None:
                self.requests.append(request)
                working = asyncio.ensure_future(self._handle(Exchange(self, request, writer)))
                watching = asyncio.ensure_future(_gone(reader))
                try:
                    await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
                    if not working.done() or isinstance(working.exception(), ConnectionError):  # seen by a write first
                        request.abandoned_at = time.monotonic()
                        return
                    working.result()
                finally:
                    for task in (working, watching):
                        task.cancel()
                    await asyncio.gather(working, watching, return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError, httpx.HTTPError):
            pass
        finally:
            writer.transport.abort()

    async def _handle(self, exchange: Exchange) -> None:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        fault = self.always or pass_through
        if self.faults and exchange.request.generates:
            fault = self.faults.popleft()
        await fault(exchange)

    async def _read(self, reader: asyncio.StreamReader) -> Request | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except (asyncio.IncompleteReadError, OSError):
            return None
        method, path, _ = head[0].split(" ", 2)
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Request(method, path, headers, body)


async def _gone(reader: asyncio.StreamReader) -> None:
    """Until the client closes its side; it sends nothing while it waits for an answer."""
    while not reader.at_eof() and reader.exception() is None:  # closed, or reset: it left something unread
        await asyncio.sleep(0.02)


# -- faults --------------------------------------------------------------------------------------------------------


async def pass_through(exchange: Exchange) -> None:
    async with exchange.upstream() as response:
        await exchange.begin(response.status_code, response.headers.get("content-type", "text/plain"))
        async for data in response.aiter_raw():
            await exchange.chunk(data)
        await exchange.end()


def status(code: int, headers: Mapping[str, str] | None = None, message: str = "made by the tests' proxy") -> Fault:
    async def fault(exchange: Exchange) -> None:
        body = json.dumps({"error": {"message": message, "type": "test", "code": code}}).encode()
        await exchange.answer(code, {"Content-Type": "application/json", **(headers or {})}, body)

    return fault


async def silence(exchange: Exchange) -> None:
    """Not even headers."""
    await asyncio.Event().wait()


async def headers_then_silence(exchange: Exchange) -> None:
    await exchange.begin()
    await asyncio.Event().wait()


def cut_after(events: int, *, clean: bool = False) -> Fault:
    """So many of the real events, then the connection is reset, or (``clean``) the body ends as if complete."""

    async def fault(exchange: Exchange) -> None:
        seen = 0
        async for event in exchange.events():
            await exchange.chunk(event)
            if (seen := seen + 1) == events:
                break
        if clean:
            await exchange.end()
        else:
            exchange.reset()

    return fault


def cut_after_tokens(tokens: int, per_event: int = 1) -> Fault:
    """So many of the real tokens, at least ``per_event`` to an event after the first, then the connection is reset.

    A late server puts more into an event than it was asked to, so events are no measure of tokens.
    """

    async def fault(exchange: Exchange) -> None:
        asked = {**exchange.request.json, "max_tokens": tokens, "stream_interval": per_event}
        async for event in exchange.events(asked):
            payload = json.loads(event[6:]) if event.startswith(b"data: {") else {}
            for choice in payload.get("choices", ()):
                choice["finish_reason"] = None
                await exchange.chunk(b"data: " + json.dumps(payload).encode() + b"\n\n")
        exchange.reset()

    return fault


def stall_after(events: int) -> Fault:
    """So many of the real events, then nothing more."""

    async def fault(exchange: Exchange) -> None:
        seen = 0
        async for event in exchange.events():
            await exchange.chunk(event)
            if (seen := seen + 1) == events:
                await asyncio.Event().wait()

    return fault


def insert_after(events: int, data: bytes) -> Fault:
    """So many of the real events, then ``data``, then the rest."""

    async def fault(exchange: Exchange) -> None:
        seen = 0
        async for event in exchange.events():
            if seen == events:
                await exchange.chunk(data)
            await exchange.chunk(event)
            seen += 1
        await exchange.end()

    return fault


def change(edit: Callable[[int, dict[str, Any]], None], request: Mapping[str, Any] | None = None) -> Fault:
    """``edit(number, payload)`` every real event; ``request`` replaces fields of what is asked."""

    async def fault(exchange: Exchange) -> None:
        number = 0
        asked = {**exchange.request.json, **(request or {})}
        async for event in exchange.events(asked):
            if event.startswith(b"data: {"):
                payload = json.loads(event[6:])
                edit(number, payload)
                event, number = b"data: " + json.dumps(payload).encode() + b"\n\n", number + 1
            await exchange.chunk(event)
        await exchange.end()

    return fault


def at_once(request: Mapping[str, Any]) -> Fault:
    """The text of all real events in one; ``request`` replaces fields of what is asked."""

    async def fault(exchange: Exchange) -> None:
        first: dict[str, Any] | None = None
        text = ""
        async for event in exchange.events({**exchange.request.json, **request}):
            payload = json.loads(event[6:]) if event.startswith(b"data: {") else {}
            for choice in payload.get("choices", ())[:1]:
                said = choice.get("delta", choice)
                name = "content" if "delta" in choice else "text"
                text += said.get(name) or ""
                first = first or payload
                if choice.get("finish_reason"):
                    said[name] = text
                    first = payload
        await exchange.chunk(b"data: " + json.dumps(first).encode() + b"\n\n")
        await exchange.end()

    return fault


def late(seconds: float) -> Fault:
    """All is well, but late."""

    async def fault(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await pass_through(exchange)

    return fault


# -- as a process of its own ---------------------------------------------------------------------------------------


async def serve(upstream: str, port: int, delay_s: float) -> None:
    """Until it is stopped."""
    async with FaultyProxy(upstream, port=port) as proxy:
        proxy.delay_s = delay_s
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Pass traffic on, late.")
    parser.add_argument("upstream")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay-s", type=float, required=True)
    given = parser.parse_args()
    asyncio.run(serve(given.upstream, given.port, given.delay_s))
