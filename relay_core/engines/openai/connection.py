"""One pooled HTTP client to one endpoint, for one event loop.

It consists of the ``openai`` client, whose own retries are off, on top of an ``httpx`` client that no other code uses.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from relay_core.engines.openai.address import Address
from relay_core.engines.openai.http_errors import translated
from relay_core.engines.openai.response import Response
from relay_core.engines.openai.retries import Patience
from relay_core.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    import ssl

    import httpx

_NO_LIMIT = 2**20  # connections; LoopClient bounds the requests in flight (aiohttp reads None as 100)
_KEEP_ALIVE_S = 2.0  # below uvicorn's 5 s, since a request on a connection that the server is closing is lost


class Connection:
    """The client; :meth:`get` and :meth:`post` return JSON, :meth:`open` streams.

    Args:
        address: the endpoint.
        patience: provides ``connect_s``, and ``max_in_flight``, the number of idle connections to keep.

    Raises:
        MissingExtraError: ``openai`` is not installed.
        ConfigurationError: the proxy or the certificates, which the environment may name, cannot be used.
    """

    def __init__(self, address: Address, patience: Patience) -> None:
        try:
            import httpx
            from openai import AsyncOpenAI

            from relay_core.engines.openai.transport import GuardedTransport

            inner = _transport(address, patience)
        except ConfigurationError:
            raise
        except ImportError as error:
            raise MissingExtraError("OpenAIEngine", "openai") from error
        self._address = address
        weakref.finalize(self, _close_unclosed, asyncio.get_running_loop(), inner)
        timeout = httpx.Timeout(None, connect=patience.connect_s)  # reads are timed by the callers
        http = httpx.AsyncClient(
            transport=GuardedTransport(inner, address),
            timeout=timeout,
            trust_env=False,  # _transport has read the environment
            follow_redirects=True,  # to the same origin; GuardedTransport refuses others
            max_redirects=3,
        )
        # The transport adds the key, headers and query of the address, so that no library logs them.
        self._client = AsyncOpenAI(
            api_key="none", base_url=address.base_url, max_retries=0, timeout=timeout, http_client=http
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def get(self, path: str) -> Any:
        """Send ``GET`` to a path below the base URL; return the JSON of the answer.

        Raises:
            Fault, EngineError: as :func:`~relay_core.engines.openai.http_errors.translated`.
        """
        return await translated(self._address, self._json(path))

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send ``POST`` to a path below the base URL; return the JSON of the answer.

        Raises:
            Fault, EngineError: as :meth:`get`.
        """
        return await translated(self._address, self._json(path, body))

    async def _json(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        import httpx

        if body is None:
            response = await self._client.get(path, cast_to=httpx.Response)
        else:
            response = await self._client.post(path, cast_to=httpx.Response, body=dict(body))
        return response.json()

    async def open(self, path: str, body: Mapping[str, Any]) -> Response:
        """Send ``POST`` to a path below the base URL; return when the headers have arrived, without reading the body.

        Raises:
            Fault, EngineError: as :meth:`get`.
        """
        from relay_core.engines.openai.transport import STREAMED

        create: Any = (
            self._client.completions.with_streaming_response.create
            if path == "/completions"
            else self._client.chat.completions.with_streaming_response.create
        )
        # the client requires a prompt or messages; the body replaces them
        required: dict[str, Any] = {"prompt": ""} if path == "/completions" else {"messages": []}
        request = create(
            model=self._address.model, stream=True, extra_body=dict(body), extra_headers={STREAMED: "1"}, **required
        )
        return Response(await translated(self._address, request.__aenter__()), self._address)

    async def drain(self, path: str, body: Mapping[str, Any]) -> None:
        """Send a streamed ``POST`` to a path below the base URL, and read its events to the end.

        Raises:
            Fault, EngineError: as :meth:`get`, or an error that an event reports.
        """
        response = await self.open(path, body)
        try:
            while await response.payload() is not None:
                pass
        finally:
            await response.aclose()


def _transport(address: Address, patience: Patience) -> httpx.AsyncBaseTransport:
    """The connections: those of aiohttp, which take about half the CPU time of ``httpx``'s own connections.

    aiohttp does not support SOCKS proxies. With such a proxy, ``httpx``'s own connections are used.

    Raises:
        ConfigurationError: the proxy or the certificates, which the environment may name, cannot be used.
    """
    import httpx
    from httpx_aiohttp import AiohttpTransport

    proxy = address.used_proxy
    uses_tls = address.base_url.startswith("https:") or (proxy is not None and proxy.is_tls)
    limits = httpx.Limits(
        max_connections=_NO_LIMIT, max_keepalive_connections=patience.max_in_flight, keepalive_expiry=_KEEP_ALIVE_S
    )
    verify = _certificates(address.verify) if uses_tls else False
    if proxy is not None and proxy.is_socks:
        return httpx.AsyncHTTPTransport(verify=verify, limits=limits, proxy=proxy.url)
    http_proxy = None if proxy is None else httpx.Proxy(proxy.bare_url, headers=proxy.headers)
    return AiohttpTransport(verify=verify, limits=limits, proxy=http_proxy)


def _certificates(verify: bool | ssl.SSLContext) -> bool | ssl.SSLContext:
    """``verify``, or a context with the certificates that the environment names.

    Raises:
        ConfigurationError: the certificates cannot be read; the message names the variable.
    """
    import httpx

    if verify is not True:
        return verify
    try:
        return httpx.create_ssl_context()
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        names = [name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]
        raise ConfigurationError(
            f"{' or '.join(names) or 'certifi'}: the certificates cannot be read: {error}"
        ) from None


def _close_unclosed(loop: asyncio.AbstractEventLoop, transport: Any) -> None:
    """Close the connections of a client that was dropped without closing, about which aiohttp would warn on stderr."""
    session = getattr(transport, "client", None)
    connector = getattr(session, "connector", None)
    if session is None or connector is None:
        return
    session.detach()
    if loop.is_running():
        asyncio.run_coroutine_threadsafe(_close(connector), loop)
    else:
        next(connector.close().__await__(), None)  # the loop closed the sockets; there is nothing to await


async def _close(connector: Any) -> None:
    await connector.close()
