"""One pooled HTTP client to one endpoint, for one event loop; foreign errors become ours here.

The ``openai`` client with its own retries off, over an ``httpx`` client that it shares with nobody. What may pass
becomes a :class:`~relay_core.engines.openai.retries.Fault`; what is our doing becomes an error that names the setting.
"""

from __future__ import annotations

import asyncio
import email.utils
import re
import ssl
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies

from relay_core.engines.openai.protocol import event_data
from relay_core.engines.openai.retries import Fault, Patience
from relay_core.errors import ConfigurationError, ContextOverflow, EngineError, MissingExtraError
from relay_core.keys import Role, how_to_give_a_key

if TYPE_CHECKING:
    import httpx
    from pydantic import SecretStr

RETRIED = (408, 409, 429)  # and all from 500 on
_NO_LIMIT = 2**20  # connections; requests in flight are bounded elsewhere (None is 100 to aiohttp)
_KEPT_S = 2.0  # an idle connection; uvicorn closes after 5 s, and a request that meets the closing is lost
_MAX_LINE_BYTES = 64 * 2**20
_OVERFLOW = re.compile(
    r"context[ _](length|size|window)|maximum (model|input) length|too many tokens|at least 1, got (0|-\d)", re.I
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where an endpoint is and how to be let in; shows no secret."""

    model: str
    base_url: str
    api_key: SecretStr
    role: Role | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    verify: bool | ssl.SSLContext = True
    proxy: str | None = field(default=None, repr=False)

    def hide(self, text: str) -> str:
        """``text`` without the key, should somebody have echoed it."""
        key = self.api_key.get_secret_value()
        return text.replace(key, "***") if len(key) > 3 else text


class Connection:
    """The client; :meth:`get` and :meth:`post` return JSON, :meth:`open` streams.

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
        self.address = address
        timeout = httpx.Timeout(None, connect=patience.connect_s)  # silence is timed by whoever waits
        limits = httpx.Limits(
            max_connections=_NO_LIMIT, max_keepalive_connections=patience.max_in_flight, keepalive_expiry=_KEPT_S
        )
        http = client_class(
            timeout=timeout, limits=limits, verify=address.verify, proxy=address.proxy, follow_redirects=True
        )
        transports = [http._transport, *http._mounts.values()]
        weakref.finalize(self, _let_go, asyncio.get_running_loop(), transports)
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
        """``GET`` below the base URL.

        Raises:
            Fault, EngineError: as :func:`translated`.
        """
        import httpx

        with translated(self.address):
            response = await self._client.get(path, cast_to=httpx.Response)
            return response.json()

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """``POST`` below the base URL.

        Raises:
            Fault, EngineError: as :func:`translated`.
        """
        import httpx

        with translated(self.address):
            response = await self._client.post(path, cast_to=httpx.Response, body=dict(body))
            return response.json()

    async def open(self, path: str, body: Mapping[str, Any]) -> Response:
        """``POST`` below the base URL; returns when the headers are there, the body unread.

        Raises:
            Fault, EngineError: as :func:`translated`.
        """
        create: Any = (
            self._client.completions.with_streaming_response.create
            if path == "/completions"
            else self._client.chat.completions.with_streaming_response.create
        )
        asked: dict[str, Any] = {"prompt": ""} if path == "/completions" else {"messages": []}
        with translated(self.address):
            response = await create(model=self.address.model, stream=True, extra_body=dict(body), **asked).__aenter__()
        return Response(response, self.address)

    async def drain(self, path: str, body: Mapping[str, Any]) -> None:
        """``POST`` a streamed request below the base URL and read its events to the end.

        Raises:
            Fault, EngineError: as :func:`translated`, and what the events say.
        """
        response = await self.open(path, body)
        try:
            while (line := await response.line()) is not None:
                event_data(line)
        finally:
            await response.aclose()


def _client_class(proxy: str | None) -> type[httpx.AsyncClient]:
    """``httpx``'s client on aiohttp's connections, which take about half the CPU; on its own for SOCKS proxies, which
    aiohttp does not speak."""
    import httpx
    from httpx_aiohttp import HttpxAiohttpClient

    proxies = [proxy or "", *getproxies().values()]
    return httpx.AsyncClient if any(url.startswith("socks") for url in proxies) else HttpxAiohttpClient


def _let_go(loop: asyncio.AbstractEventLoop, transports: Sequence[Any]) -> None:
    """Close what nobody has closed; left to itself, aiohttp complains of it on stderr."""
    for transport in transports:
        session = getattr(transport, "client", None)
        connector = getattr(session, "connector", None)
        if session is None or connector is None:
            continue
        session.detach()
        if loop.is_running():
            asyncio.run_coroutine_threadsafe(_closed(connector), loop)
        else:
            next(connector.close().__await__(), None)  # its sockets went with the loop; nothing to wait for


async def _closed(connector: Any) -> None:
    await connector.close()


class Response:
    """A streamed answer: its lines, as they come; empty ones are left out."""

    def __init__(self, response: Any, address: Address) -> None:
        self._response, self._address = response, address
        self._waiting: deque[bytes] = deque()
        self._over = False
        self._reads = self._read()

    async def _read(self) -> AsyncGenerator[list[bytes], None]:
        # not httpx's iter_lines: that one also breaks at U+2028 and its like, which JSON may hold
        rest = b""
        async for data in self._response.http_response.aiter_bytes():
            *lines, rest = (rest + data).split(b"\n") if rest else data.split(b"\n")
            yield lines
            if len(rest) > _MAX_LINE_BYTES:
                raise Fault(f"a line of more than {_MAX_LINE_BYTES} bytes in the event stream")
        yield [rest]

    @property
    def waiting(self) -> bool:
        """Whether the next line is here already."""
        return bool(self._waiting)

    async def line(self) -> bytes | None:
        """The next line, or ``None`` at the end.

        Raises:
            Fault: the connection broke.
        """
        while not self._waiting and not self._over:
            with translated(self._address):
                lines = await anext(self._reads, None)
            self._over = lines is None
            self._waiting.extend(line for line in map(_without_return, lines or ()) if line)
        return self._waiting.popleft() if self._waiting else None

    async def aclose(self) -> None:
        """Let go of the connection; an answer that is not over is cancelled by that."""
        await self._reads.aclose()
        await self._response.close()


def _without_return(line: bytes) -> bytes:
    return line.rstrip(b"\r")


@contextmanager
def translated(address: Address) -> Iterator[None]:
    """Foreign errors become ours.

    Raises:
        Fault: connection errors, time-outs, and the statuses 408, 409, 429 and 5xx, with ``Retry-After``.
        ContextOverflow: the endpoint says that the prompt is longer than its context.
        EngineError: any other refusal; it names the setting to change.
    """
    import aiohttp
    import httpx
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        raise _refusal(address, error.status_code, error.response, error.message) from error
    except (openai.APIConnectionError, httpx.HTTPError, httpx.StreamError, aiohttp.ClientError, OSError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__  # the first of them says best what happened
        what = address.hide(f"{type(cause).__name__}: {cause}".rstrip(": "))
        raise Fault(f"{address.base_url} could not be reached or broke off: {what}") from error
    except (openai.OpenAIError, ValueError) as error:
        what = address.hide(f"{type(error).__name__}: {error}")[:300]
        raise Fault(f"{address.base_url} sent what cannot be read: {what}") from error


def _refusal(address: Address, status: int, response: httpx.Response, message: str) -> EngineError:
    said = address.hide(message)[:300]
    where = f"{address.base_url} answered {status}"
    if status in RETRIED or status >= 500:
        return Fault(f"{where}: {said}", retry_after_s=_retry_after(response.headers), status=status)
    if status in (401, 403):
        hint = how_to_give_a_key(address.role)
        return EngineError(f"{where}: it does not accept the key; {hint} ({said})", role=address.role)
    if status == 404:
        return EngineError(f"{where}: check model= ({address.model!r}) and base_url= ({said})")
    if status in (400, 413, 422) and _OVERFLOW.search(message):
        return ContextOverflow(f"{where}: the prompt is too long: {said}")
    return EngineError(f"{where}: {said}")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from ``Retry-After`` (seconds or an HTTP date) or ``retry-after-ms``."""
    if milliseconds := headers.get("retry-after-ms", ""):
        try:
            return max(0.0, float(milliseconds) / 1000)
        except ValueError:
            pass
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def ca(verify: bool | str | ssl.SSLContext) -> bool | ssl.SSLContext:
    """``verify`` as ``httpx`` takes it, a file of CAs read.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    if not isinstance(verify, str):
        return verify
    try:
        return ssl.create_default_context(cafile=verify)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"verify is {verify!r}: write the path of a CA file in PEM ({error})") from error
