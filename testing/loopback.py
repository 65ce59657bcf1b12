"""A server on loopback that answers with bytes that a test chooses, even bytes that no real server sends.

    async with loopback(lambda request: http_response(json.dumps({"choices": []}))) as server:
        engine = OpenAIEngine("m", server.url)

An answer is a complete HTTP response as bytes, or an async generator of its parts. :func:`chat_endpoint` builds an
answer function for an endpoint that does not list its models and answers chats.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """A request as it arrived. ``target``: the path and the query. ``headers``: by names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body as JSON; empty if there is none."""
        return json.loads(self.content) if self.content else {}


Answer = bytes | AsyncGenerator[bytes, None]


@dataclass
class Loopback:
    """A running server: its URL, and the requests that have arrived."""

    url: str
    requests: list[Request] = field(default_factory=list)


def http_response(
    body: str | bytes, status: int = 200, headers: Mapping[str, str] | None = None, kind: str = "application/json"
) -> bytes:
    """A whole HTTP response."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", f"content-length: {len(content)}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


def event_stream(*payloads: Any) -> bytes:
    """A response of server-sent events, ``[DONE]`` at the end."""
    events = [f"data: {json.dumps(payload)}\n\n" for payload in payloads]
    return http_response("".join(events) + "data: [DONE]\n\n", kind="text/event-stream")


def words(*texts: str, finish: str = "stop") -> bytes:
    """A streamed chat answer of these texts."""
    deltas = [{"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]} for text in texts]
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
    return event_stream(*deltas, end, {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": len(texts)}})


def chat_endpoint(stream: Callable[[Request], Answer] = lambda request: words("yes")) -> Callable[[Request], Answer]:
    """An answer function: no list of models, small answers to the probing, ``stream`` for streamed requests."""

    def answer(request: Request) -> Answer:
        if request.target.partition("?")[0].endswith("/chat/completions"):
            if request.json.get("stream"):
                return stream(request)
            choice = {"index": 0, "message": {"role": "assistant", "content": "1"}, "finish_reason": "length"}
            return http_response(json.dumps({"choices": [choice], "usage": {"prompt_tokens": 9}}))
        return http_response('{"error": {"message": "not here"}}', 404)

    return answer


@asynccontextmanager
async def loopback(answer: Callable[[Request], Answer]) -> AsyncIterator[Loopback]:
    """Serve ``answer`` on a free port of loopback."""

    handlers: set[asyncio.Task[Any] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ", 2)
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            content = await reader.readexactly(int(headers.get("content-length", 0)))
            request = Request(method, target, headers, content)
            server.requests.append(request)
            parts = answer(request)
            if isinstance(parts, bytes):
                writer.write(parts)
            else:
                async for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)  # drain alone does not let other tasks run
            await writer.drain()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**24)
    server = Loopback(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1")
    try:
        yield server
    finally:
        listener.close()
        running = [handler for handler in handlers if handler is not None and not handler.done()]
        for handler in running:
            handler.cancel()
        await asyncio.gather(*running, return_exceptions=True)
