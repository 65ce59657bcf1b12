"""An HTTP proxy between a client and a real server that injects the faults of networks and servers.

    async with FaultyProxy("http://127.0.0.1:8000") as proxy:
        proxy.faults += [status(500), status(429, {"Retry-After": "2"}), cut_after(3)]
        engine = OpenAIEngine("tiny", proxy.url)

A fault is an async function that answers an :class:`Exchange`; ``testing/faults.py`` defines the faults. Each fault in
``faults`` answers one streamed POST, in order; ``always`` answers every other request, and by default relays it
unchanged. ``delay_s`` delays every request. ``down`` and ``up`` simulate a crash of the server and its restart.
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
class ClientRequest:
    """A client's request.

    ``arrived_at``: when it arrived (``time.monotonic``). ``abandoned_at``: when the client closed the connection before
    the response was complete; ``None`` if it did not.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    arrived_at: float = field(default_factory=time.monotonic)
    abandoned_at: float | None = None

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body) if self.body else {}

    @property
    def generates(self) -> bool:
        """Whether it requests a stream of tokens."""
        return self.method == "POST" and bool(self.json.get("stream"))


class Exchange:
    """One request, and the means to answer it."""

    def __init__(self, proxy: FaultyProxy, request: ClientRequest, writer: asyncio.StreamWriter) -> None:
        self.proxy, self.request, self.writer = proxy, request, writer

    async def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send a whole response."""
        lines = [f"HTTP/1.1 {status} X", *(f"{k}: {v}" for k, v in headers.items()), f"Content-Length: {len(body)}"]
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    async def begin(self, status: int = 200, content_type: str = "text/event-stream") -> None:
        """Send the headers of a response whose body follows in chunks."""
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        await self.send(head.encode())

    async def chunk(self, data: bytes) -> None:
        """Send a part of the body."""
        if data:
            await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def end(self) -> None:
        """End the body."""
        await self.send(b"0\r\n\r\n")

    async def send(self, data: bytes) -> None:
        """Send raw bytes to the client."""
        self.writer.write(data)
        await self.writer.drain()

    @contextlib.asynccontextmanager
    async def upstream(self, body: Mapping[str, Any] | None = None) -> AsyncIterator[httpx.Response]:
        """The real server's response to this request, with its body replaced by ``body`` if there is one."""
        not_forwarded = ("host", "content-length", "connection", "accept-encoding")
        headers = {k: v for k, v in self.request.headers.items() if k not in not_forwarded}
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
        """Send the headers of the real server's response, then yield its events, each with its blank line.

        An event with several token ids is split into events with one id each.
        """
        async with self.upstream(body) as response:
            await self.begin(response.status_code, response.headers.get("content-type", "text/plain"))
            rest = b""
            async for data in response.aiter_raw():
                *events, rest = (rest + data).split(b"\n\n")
                for event in events:
                    for part in _split_by_id(event):
                        yield part + b"\n\n"
            if rest:
                yield rest

    def reset(self) -> None:
        """Reset the connection (RST, not FIN), as a crashed host does."""
        sock = self.writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.writer.transport.abort()


def _split_by_id(event: bytes) -> Iterator[bytes]:
    """Split an event with several token ids into events with one id each, the last of which has the text.

    A server under load sends several tokens in one event.
    """
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
    """The proxy that the docstring of this module describes.

    Args:
        upstream: the real server's URL, without a path.
        tls: serve HTTPS with this context.
        port: the port to listen on; 0 takes a free one.

    ``requests`` holds every request that arrived.
    """

    def __init__(self, upstream: str, *, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.upstream = upstream.rstrip("/")
        self.faults: deque[Fault] = deque()
        self.always: Fault | None = None
        self.delay_s = 0.0
        self.requests: list[ClientRequest] = []
        self._tls, self._port, self._is_up = tls, port, False
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The base URL to give to a client."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}/v1"

    @property
    def generating(self) -> list[ClientRequest]:
        """The requests for a stream of tokens."""
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
        """Start to listen, on the same port as before."""
        self._is_up = True
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, ssl=self._tls, backlog=1024)
        self._port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Stop listening, and abort every connection."""
        assert self._server is not None
        self._is_up = False
        self._server.close()
        while self._serving:
            for task in list(self._serving):
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)
            await asyncio.sleep(0)  # for their callbacks: since Python 3.12, gather does not wait for finished tasks

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._is_up:  # the connection was accepted while going down
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
                watching = asyncio.ensure_future(_client_closed(reader))
                try:
                    await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
                    if not working.done() or isinstance(working.exception(), ConnectionError):  # a write met it
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

    async def _read(self, reader: asyncio.StreamReader) -> ClientRequest | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except (asyncio.IncompleteReadError, OSError):
            return None
        method, path, _ = head[0].split(" ", 2)
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return ClientRequest(method, path, headers, body)


async def _client_closed(reader: asyncio.StreamReader) -> None:
    """Return when the client has closed or reset the connection; it sends nothing while it waits for a response."""
    while not reader.at_eof() and reader.exception() is None:
        await asyncio.sleep(0.02)


async def pass_through(exchange: Exchange) -> None:
    """Relay the server's response unchanged."""
    async with exchange.upstream() as response:
        await exchange.begin(response.status_code, response.headers.get("content-type", "text/plain"))
        async for data in response.aiter_raw():
            await exchange.chunk(data)
        await exchange.end()


# -- as a process of its own ---------------------------------------------------------------------------------------


async def serve(upstream: str, port: int, delay_s: float) -> None:
    """Run a proxy that delays every request, until the process is stopped."""
    async with FaultyProxy(upstream, port=port) as proxy:
        proxy.delay_s = delay_s
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Relay requests with a delay.")
    parser.add_argument("upstream")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay-s", type=float, required=True)
    options = parser.parse_args()
    asyncio.run(serve(options.upstream, options.port, options.delay_s))
