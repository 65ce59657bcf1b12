"""One pooled HTTP client to one endpoint, for one event loop.

It is the ``openai`` client with its own retries off, over an ``httpx`` client that no other code shares.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies

from relay_core.engines.openai.address import Address
from relay_core.engines.openai.event_reader import event_data
from relay_core.engines.openai.http_errors import translate_errors
from relay_core.engines.openai.response import Response
from relay_core.engines.openai.retries import Patience
from relay_core.errors import MissingExtraError

if TYPE_CHECKING:
    import httpx

_NO_LIMIT = 2**20  # connections; LoopClient bounds the requests in flight (aiohttp reads None as 100)
_KEEP_ALIVE_S = 2.0  # below uvicorn's 5 s: a request sent on a connection that the server is closing is lost


class Connection:
    """The client; :meth:`get` and :meth:`post` return JSON, :meth:`open` streams.

    Args:
        address: the endpoint.
        patience: its ``connect_s``, and its ``max_in_flight`` as the number of idle connections to keep.

    Raises:
        MissingExtraError: ``openai`` is not installed.
    """

    def __init__(self, address: Address, patience: Patience) -> None:
        try:
            import httpx
            from openai import AsyncOpenAI

            client_class = _client_class(address.proxy)
        except ImportError as error:
            raise MissingExtraError("OpenAIEngine", "openai") from error
        self._address = address
        timeout = httpx.Timeout(None, connect=patience.connect_s)  # reads are timed by the callers
        limits = httpx.Limits(
            max_connections=_NO_LIMIT, max_keepalive_connections=patience.max_in_flight, keepalive_expiry=_KEEP_ALIVE_S
        )
        http = client_class(
            timeout=timeout, limits=limits, verify=address.verify, proxy=address.proxy, follow_redirects=True
        )
        transports = [http._transport, *http._mounts.values()]
        weakref.finalize(self, _close_unclosed, asyncio.get_running_loop(), transports)
        self._client = AsyncOpenAI(
            api_key=address.api_key.get_secret_value() or "none",
            base_url=address.base_url,
            max_retries=0,
            timeout=timeout,
            default_headers=dict(address.headers) or None,
            default_query=dict(address.query) or None,
            http_client=http,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def get(self, path: str) -> Any:
        """Send ``GET`` to a path below the base URL; return the JSON of the answer.

        Raises:
            Fault, EngineError: as :func:`~relay_core.engines.openai.http_errors.translate_errors`.
        """
        import httpx

        with translate_errors(self._address):
            response = await self._client.get(path, cast_to=httpx.Response)
            return response.json()

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send ``POST`` to a path below the base URL; return the JSON of the answer.

        Raises:
            Fault, EngineError: as :meth:`get`.
        """
        import httpx

        with translate_errors(self._address):
            response = await self._client.post(path, cast_to=httpx.Response, body=dict(body))
            return response.json()

    async def open(self, path: str, body: Mapping[str, Any]) -> Response:
        """Send ``POST`` to a path below the base URL; return when the headers have come, the body unread.

        Raises:
            Fault, EngineError: as :meth:`get`.
        """
        create: Any = (
            self._client.completions.with_streaming_response.create
            if path == "/completions"
            else self._client.chat.completions.with_streaming_response.create
        )
        # the client demands a prompt or messages; those of the body replace them
        required: dict[str, Any] = {"prompt": ""} if path == "/completions" else {"messages": []}
        with translate_errors(self._address):
            request = create(model=self._address.model, stream=True, extra_body=dict(body), **required)
            return Response(await request.__aenter__(), self._address)

    async def drain(self, path: str, body: Mapping[str, Any]) -> None:
        """Send a streamed ``POST`` to a path below the base URL, and read its events to the end.

        Raises:
            Fault, EngineError: as :meth:`get`; also an error that an event reports.
        """
        response = await self.open(path, body)
        try:
            while (line := await response.line()) is not None:
                event_data(line)
        finally:
            await response.aclose()


def _client_class(proxy: str | None) -> type[httpx.AsyncClient]:
    """``httpx``'s client on aiohttp's connections, which take about half the CPU time.

    aiohttp does not support SOCKS proxies: with one of these, ``httpx``'s own connections.
    """
    import httpx
    from httpx_aiohttp import HttpxAiohttpClient

    proxies = [proxy or "", *getproxies().values()]
    return httpx.AsyncClient if any(url.startswith("socks") for url in proxies) else HttpxAiohttpClient


def _close_unclosed(loop: asyncio.AbstractEventLoop, transports: Sequence[Any]) -> None:
    """Close the connections of a client that was dropped unclosed; aiohttp would warn of them on stderr."""
    for transport in transports:
        session = getattr(transport, "client", None)
        connector = getattr(session, "connector", None)
        if session is None or connector is None:
            continue
        session.detach()
        if loop.is_running():
            asyncio.run_coroutine_threadsafe(_close(connector), loop)
        else:
            next(connector.close().__await__(), None)  # the loop closed the sockets; there is nothing to await


async def _close(connector: Any) -> None:
    await connector.close()
