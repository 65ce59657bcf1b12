"""Faults for ``FaultyProxy``, which networks and servers cause in a response."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from testing.faulty_proxy import Exchange, Fault, pass_through


def status(code: int, headers: Mapping[str, str] | None = None, message: str = "made by the tests' proxy") -> Fault:
    """Answer with an error of this status."""

    async def fault(exchange: Exchange) -> None:
        body = json.dumps({"error": {"message": message, "type": "test", "code": code}}).encode()
        await exchange.answer(code, {"Content-Type": "application/json", **(headers or {})}, body)

    return fault


async def silence(exchange: Exchange) -> None:
    """Send nothing, not even headers."""
    await asyncio.Event().wait()


async def headers_then_silence(exchange: Exchange) -> None:
    """Send the headers of a response and no body."""
    await exchange.begin()
    await asyncio.Event().wait()


def say(*data: bytes, then: str = "end") -> Fault:
    """Answer with a stream of these bytes, without asking the real server.

    ``then``: ``"end"`` of the response, ``"reset"`` of the connection, or ``"silence"``.
    """

    async def fault(exchange: Exchange) -> None:
        await exchange.begin()
        for each in data:
            await exchange.chunk(each)
        if then == "silence":
            await asyncio.Event().wait()
        elif then == "reset":
            exchange.reset()
        else:
            await exchange.end()

    return fault


def event(payload: Any, name: str = "") -> bytes:
    """A server-sent event; a payload that is not a string is written as JSON."""
    data = payload if isinstance(payload, str) else json.dumps(payload)
    return (f"event: {name}\n" if name else "").encode() + f"data: {data}\n\n".encode()


def cut_after(events: int, *, clean: bool = False) -> Fault:
    """Relay this many events, then reset the connection or, with ``clean``, end the body as if it were complete."""

    async def fault(exchange: Exchange) -> None:
        count = 0
        async for event in exchange.events():
            await exchange.chunk(event)
            if (count := count + 1) == events:
                break
        if clean:
            await exchange.end()
        else:
            exchange.reset()

    return fault


def cut_after_tokens(tokens: int, per_event: int = 1) -> Fault:
    """Relay this many tokens (after the first token, at least ``per_event`` per event), then reset the connection.

    Tokens cannot be counted by events, since a server under load sends several tokens in one.
    """

    async def fault(exchange: Exchange) -> None:
        body = {**exchange.request.json, "max_tokens": tokens, "stream_interval": per_event}
        async for event in exchange.events(body):
            payload = _payload(event)
            for choice in payload.get("choices", ()):
                choice["finish_reason"] = None
                await exchange.chunk(_as_event(payload))
        exchange.reset()

    return fault


def stall_after(events: int) -> Fault:
    """Relay this many events, then send nothing more."""

    async def fault(exchange: Exchange) -> None:
        count = 0
        async for event in exchange.events():
            await exchange.chunk(event)
            if (count := count + 1) == events:
                await asyncio.Event().wait()

    return fault


def insert_after(events: int, data: bytes) -> Fault:
    """Relay this many events, then send ``data``, then relay the rest."""

    async def fault(exchange: Exchange) -> None:
        count = 0
        async for event in exchange.events():
            if count == events:
                await exchange.chunk(data)
            await exchange.chunk(event)
            count += 1
        await exchange.end()

    return fault


def change(edit: Callable[[int, dict[str, Any]], None], request: Mapping[str, Any] | None = None) -> Fault:
    """Relay every event after ``edit(number, payload)`` has changed its payload.

    ``request`` replaces fields of the request.
    """

    async def fault(exchange: Exchange) -> None:
        number = 0
        async for event in exchange.events({**exchange.request.json, **(request or {})}):
            if payload := _payload(event):
                edit(number, payload)
                await exchange.chunk(_as_event(payload))
                number += 1
            else:
                await exchange.chunk(event)
        await exchange.end()

    return fault


def at_once(request: Mapping[str, Any]) -> Fault:
    """Relay the text of all events in one event; ``request`` replaces fields of the request."""

    async def fault(exchange: Exchange) -> None:
        whole: dict[str, Any] | None = None
        text = ""
        async for event in exchange.events({**exchange.request.json, **request}):
            payload = _payload(event)
            for choice in payload.get("choices", ())[:1]:
                source = choice.get("delta", choice)
                name = "content" if "delta" in choice else "text"
                text += source.get(name) or ""
                whole = whole or payload
                if choice.get("finish_reason"):
                    source[name] = text
                    whole = payload
        await exchange.chunk(_as_event(whole))
        await exchange.end()

    return fault


def late(seconds: float) -> Fault:
    """Relay the response after a delay."""

    async def fault(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await pass_through(exchange)

    return fault


def _payload(event: bytes) -> dict[str, Any]:
    """An event's JSON; empty if the event has none."""
    payload: dict[str, Any] = json.loads(event[6:]) if event.startswith(b"data: {") else {}
    return payload


def _as_event(payload: Any) -> bytes:
    return event(payload)
