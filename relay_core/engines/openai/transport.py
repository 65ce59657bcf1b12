"""The transport below the HTTP client, which adds secrets, refuses other origins, and limits the size of responses.

It adds the secrets after a request has passed through the ``openai`` client and ``httpx``, so that neither of them logs
the secrets or keeps them in an exception. If a redirect leads to another origin, the request is refused. Responses are
decompressed here, and their size is limited.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator

import httpx

from relay_core.engines.openai.address import Address
from relay_core.engines.openai.faults import Fault, RequestRefused
from relay_core.engines.openai.redaction import printable

STREAMED = "x-relay-streamed"  # marks a request for a stream; this header is not sent
MAX_STREAM_BYTES = 512 * 2**20  # the limit for a streamed response
MAX_UNPACKED_BYTES = 64 * 2**20  # the limit for a streamed response that was sent compressed, after decompression
MAX_BODY_BYTES = 16 * 2**20  # the limit for any other response
MAX_ERROR_BYTES = 64 * 2**10  # the body of an error is cut at this size
_PIECE = 2**18  # bytes that are decompressed at once
_PLAIN = ("", "identity")
_HEADERS = ("accept", "content-type", "user-agent")
_OPENAI_HOST, _OPENAI_HEADERS = "api.openai.com", ("openai-organization", "openai-project")


class GuardedTransport(httpx.AsyncBaseTransport):
    """Sends requests to one endpoint only.

    Args:
        inner: the transport with the connections.
        address: the endpoint, with its secrets.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, address: Address) -> None:
        self._inner, self._address = inner, address
        self._origin = _origin(httpx.URL(address.base_url))
        proxy = address.used_proxy
        # an HTTPS request passes through a tunnel: the proxy reads the tunnel's headers, which the inner transport adds
        is_read_by_proxy = proxy is not None and not proxy.is_socks and self._origin[0] == "http"
        self._proxy_headers = proxy.headers if proxy is not None and is_read_by_proxy else {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if _origin(request.url) != self._origin:
            scheme, host, port = _origin(request.url)
            target = printable(self._address.redact(f"{scheme}://{host}:{port}"), 120)
            raise RequestRefused(
                f"{self._address.base_url} redirects to {target}: redirects to another origin are not followed; "
                "write the right URL as base_url="
            )
        is_stream = request.headers.pop(STREAMED, None) is not None
        response = await self._inner.handle_async_request(self._with_secrets(request, await request.aread()))
        headers = httpx.Headers([(name, self._address.redact(value)) for name, value in response.headers.multi_items()])
        encoding = ", ".join(headers.get_list("content-encoding")).strip().lower()
        for name in ("content-encoding", "content-length"):
            headers.pop(name, None)
        limit, cuts = MAX_BODY_BYTES, False
        if is_stream:
            limit = MAX_STREAM_BYTES if encoding in _PLAIN else MAX_UNPACKED_BYTES
        if response.status_code >= 300:
            limit, cuts = MAX_ERROR_BYTES, True
        return httpx.Response(
            status_code=response.status_code,
            headers=headers,
            stream=_BoundedStream(response, self._address.base_url, encoding, limit, cuts=cuts),
            extensions={"http_version": response.extensions.get("http_version", b"HTTP/1.1")},
        )

    def _with_secrets(self, request: httpx.Request, content: bytes) -> httpx.Request:
        """The request that is sent; the request that the client keeps contains no secrets.

        Headers that the client takes from the environment or from this machine are left out.
        """
        address = self._address
        kept = (*_HEADERS, *_OPENAI_HEADERS) if request.url.host == _OPENAI_HOST else _HEADERS
        headers = httpx.Headers([(name, request.headers[name]) for name in kept if name in request.headers])
        headers["accept-encoding"] = "identity"
        if key := address.api_key.get_secret_value():
            headers["authorization"] = f"Bearer {key}"
        headers.update(address.headers)
        headers.update(self._proxy_headers)
        url = request.url.copy_merge_params(dict(address.query)) if address.query else request.url
        return httpx.Request(request.method, url, headers=headers, content=content, extensions=request.extensions)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _BoundedStream(httpx.AsyncByteStream):
    """A response's body, decompressed piece by piece.

    Args:
        response: the response, whose body has not been read.
        url: the endpoint's URL, for errors.
        encoding: the value of ``content-encoding``.
        limit: the most bytes to read, counted after decompression.
        cuts: whether to cut the body at the limit; otherwise a longer body is an error.
    """

    def __init__(self, response: httpx.Response, url: str, encoding: str, limit: int, *, cuts: bool) -> None:
        self._response, self._url, self._encoding, self._limit, self._cuts = response, url, encoding, limit, cuts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._limit
        async for piece in self._unpacked():
            if len(piece) > left:
                if self._cuts:
                    yield piece[:left]
                    return
                raise Fault(f"{self._url} sent a response of more than {self._limit} bytes")
            left -= len(piece)
            yield piece

    async def _unpacked(self) -> AsyncIterator[bytes]:
        assert isinstance(self._response.stream, httpx.AsyncByteStream)
        if self._encoding in _PLAIN:
            async for data in self._response.stream:
                yield data
            return
        if self._encoding not in ("gzip", "x-gzip", "deflate"):
            name = printable(self._encoding, 40)
            raise Fault(f"{self._url} sent a response with the encoding {name!r}, which was not asked for")
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # 32: gzip or zlib, by the header
        async for data in self._response.stream:
            while data:
                try:
                    yield unpacker.decompress(data, _PIECE)
                except zlib.error as error:
                    raise Fault(f"{self._url} sent a response that cannot be unpacked: {error}") from None
                data = unpacker.unconsumed_tail
                await asyncio.sleep(0)  # unpacking must not hold up the other streams

    async def aclose(self) -> None:
        await self._response.aclose()


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme, 0)
