"""Pooled HTTP clients to one endpoint, for one event loop; foreign errors become ours here.

The ``openai`` client with its own retries off, over ``httpx`` clients that it shares with nobody. What may pass
becomes a :class:`~relay_core.engines.steady.Fault`; what is our doing becomes an error that names the setting.
"""

from __future__ import annotations

import email.utils
import re
import ssl
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from relay_core.engines.steady import Fault, Patience
from relay_core.engines.wire import event_data
from relay_core.errors import ConfigurationError, ContextOverflow, EngineError, MissingExtraError
from relay_core.keys import Role, how_to_give_a_key

if TYPE_CHECKING:
    import httpx
    from pydantic import SecretStr

Client = TypeVar("Client")

RETRIED = (408, 409, 429)  # and all from 500 on
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


class Lanes(Generic[Client]):
    """Clients of one kind, each with few requests at a time; new ones are made as they are needed.

    ``httpx`` goes through all connections of a pool, and some of them again for each, whenever one is taken or given
    back: with 64 at once that is most of what a request costs here, with hundreds it stands still. So a pool is kept
    small, and there are several.

    Args:
        make: makes a client; called in the event loop.
        width: requests at a time of each.
    """

    def __init__(self, make: Callable[[], Client], width: int = 8) -> None:
        self._make, self._width = make, width
        self.clients: list[Client] = []
        self._busy: list[int] = []

    @contextmanager
    def one(self) -> Iterator[Client]:
        """A client for one request: the first that has room, so that few connections serve few requests."""
        lane = next((i for i, busy in enumerate(self._busy) if busy < self._width), len(self._busy))
        if lane == len(self._busy):
            self.clients.append(self._make())
            self._busy.append(0)
        self._busy[lane] += 1
        try:
            yield self.clients[lane]
        finally:
            self._busy[lane] -= 1


class Connection:
    """The clients of one endpoint; :meth:`get` and :meth:`post` return JSON, :meth:`open` streams.

    Raises:
        MissingExtraError: ``openai`` is not installed.
    """

    def __init__(self, address: Address, patience: Patience) -> None:
        try:
            import httpx
            from openai import AsyncOpenAI
        except ImportError as error:
            raise MissingExtraError("OpenAIEngine", "openai") from error
        self.address = address
        timeout = httpx.Timeout(None, connect=patience.connect_s)  # silence is timed by whoever waits
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=patience.max_in_flight)
        known = httpx.create_ssl_context(verify=address.verify)  # reads the CAs, once for all clients

        def client() -> AsyncOpenAI:
            return AsyncOpenAI(
                api_key=address.api_key.get_secret_value() or "none",
                base_url=address.base_url,
                max_retries=0,
                timeout=timeout,
                default_headers=dict(address.headers) or None,
                default_query=dict(address.query) or None,
                http_client=httpx.AsyncClient(
                    timeout=timeout, limits=limits, verify=known, proxy=address.proxy, follow_redirects=True
                ),
            )

        self._lanes = Lanes(client)

    async def aclose(self) -> None:
        """Close every connection."""
        for client in self._lanes.clients:
            await client.close()

    async def get(self, path: str) -> Any:
        """``GET`` below the base URL.

        Raises:
            Fault, EngineError: as :func:`translated`.
        """
        import httpx

        with translated(self.address), self._lanes.one() as client:
            response = await client.get(path, cast_to=httpx.Response)
            return response.json()

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """``POST`` below the base URL.

        Raises:
            Fault, EngineError: as :func:`translated`.
        """
        import httpx

        with translated(self.address), self._lanes.one() as client:
            response = await client.post(path, cast_to=httpx.Response, body=dict(body))
            return response.json()

    async def open(self, path: str, body: Mapping[str, Any]) -> Response:
        """``POST`` below the base URL; returns when the headers are there, the body unread.

        Raises:
            Fault, EngineError: as :func:`translated`.
        """
        asked: dict[str, Any] = {"prompt": ""} if path == "/completions" else {"messages": []}
        with ExitStack() as lane:
            client: Any = lane.enter_context(self._lanes.one())
            api = client.completions if path == "/completions" else client.chat.completions
            with translated(self.address):
                opening = api.with_streaming_response.create(
                    model=self.address.model, stream=True, extra_body=dict(body), **asked
                )
                return Response(await opening.__aenter__(), self.address, lane.pop_all())

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


class Response:
    """A streamed answer: its lines, as they come; empty ones are left out."""

    def __init__(self, response: Any, address: Address, lane: ExitStack) -> None:
        self._response, self._address, self._lane = response, address, lane
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
        with self._lane:
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
    import httpx
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        raise _refusal(address, error.status_code, error.response, error.message) from error
    except (openai.APIConnectionError, httpx.HTTPError, httpx.StreamError, OSError) as error:
        cause = error.__cause__ if isinstance(error, openai.APIConnectionError) else error
        what = address.hide(f"{type(cause or error).__name__}: {cause or error}".rstrip(": "))
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
