"""Translates the exceptions of other libraries into ours.

Transient failures become :class:`~relay_core.engines.openai.faults.Fault` and are retried. Configuration mistakes
become an error that names the setting to change. Our exceptions do not hold the original ones. Their cause is the text
of the original exceptions, without secrets (:class:`~relay_core.engines.openai.redaction.ForeignError`).
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import aclosing
from typing import TypeVar

from relay_core.engines.openai.address import Address
from relay_core.engines.openai.faults import KEY_STATUSES, BreakerOpen, Fault, NoAnswer, RequestRefused
from relay_core.engines.openai.overflow import Excess, read_overflow
from relay_core.engines.openai.redaction import ForeignError, describe
from relay_core.engines.openai.refusals import FieldsRefused, TooLong, message_of, parsed, refused_fields
from relay_core.errors import ConfigurationError, EngineError, RelayError
from relay_core.keys import how_to_give_a_key

T = TypeVar("T")

RETRIED = (408, 409, 429)  # besides every status from 500 on


class Unreachable(Fault):
    """No connection to the endpoint could be opened."""


async def translated(address: Address, work: Awaitable[T]) -> T:
    """Await ``work``, which uses an HTTP library, and translate its exceptions into ours.

    Raises:
        Unreachable: no connection could be opened.
        Fault: a connection error, a time-out, an answer that cannot be read, or one of the statuses 408, 409, 429 and
            5xx, with its ``Retry-After``.
        TooLong: the endpoint says that the request is longer than its context.
        RequestRefused: any other status; the message names the setting to change.
        EngineError: any other exception.
    """
    try:
        return await work
    except Exception as error:
        failure = as_ours(address, error)
    raise failure  # outside the handler, since an exception that is raised inside keeps the original as its context


async def at_the_edge(address: Address, chunks: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Forward an engine's stream; our internal errors get their public type, and all other exceptions are translated.

    Raises:
        RelayError: anything failed.
    """
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk
        return
    except Exception as error:
        failure = public_error(address, error)
    raise failure


async def call_at_the_edge(address: Address, work: Awaitable[T]) -> T:
    """Await ``work`` of an engine; errors are translated as in :func:`at_the_edge`.

    Raises:
        RelayError: anything failed.
    """
    try:
        return await work
    except Exception as error:
        failure = public_error(address, error)
    raise failure


def as_ours(address: Address, error: BaseException) -> RelayError:
    """Our error for an exception; if the exception wraps one of our errors, this error is returned."""
    chain = _chain(error)
    for link in chain:
        if isinstance(link, RelayError):
            _clean(address, link)
            return link
    failure = _translate(address, error, chain)
    failure.__cause__ = address.secrets.cause(error)
    return failure


def public_error(address: Address, error: BaseException) -> RelayError:
    """The error that leaves the engine: its message has no secrets and no line breaks, and its type is public."""
    failure = as_ours(address, error)
    if not isinstance(failure, (Fault, RequestRefused, NoAnswer, BreakerOpen)):
        return failure
    public = EngineError(failure.message, role=failure.role)
    public.__cause__ = failure
    return public


def _chain(error: BaseException) -> list[BaseException]:
    """An exception and its causes."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return chain


def _clean(address: Address, error: RelayError) -> None:
    """Redact one of our errors and its causes; the first foreign exception among the causes becomes text."""
    link = error
    for _ in range(20):  # a chain of causes may be circular
        link.message = address.shown(link.message, 2000)
        link.args = (link.message,)
        cause = link.__cause__ or link.__context__
        if isinstance(cause, ForeignError):
            cause.__context__ = None
        elif cause is not None and not isinstance(cause, RelayError):
            cause = address.secrets.cause(cause)
        link.__cause__, link.__context__ = cause, None
        if not isinstance(cause, RelayError):
            break
        link = cause


def _translate(address: Address, error: BaseException, chain: list[BaseException]) -> EngineError:
    import aiohttp
    import anyio
    import httpx
    import openai

    if isinstance(error, openai.APIStatusError):
        return _answer_error(address, error)
    # the innermost error is the most specific one, unless the library only tries another way after it
    innermost = next((link for link in reversed(chain) if str(link) and not isinstance(link, LookupError)), error)
    message = address.shown(describe(innermost))
    connecting: tuple[type[Exception], ...] = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)
    if any(isinstance(link, aiohttp.ClientError) for link in chain):
        # httpx_aiohttp also raises ConnectTimeout for a connection that broke later
        connecting = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)
    if any(isinstance(link, connecting) for link in chain):
        return Unreachable(f"{address.base_url} could not be reached{_by_proxy(address)}: {message}")
    broken = (
        openai.APIConnectionError, httpx.HTTPError, httpx.StreamError, aiohttp.ClientError, OSError, EOFError,
        anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError,
    )  # fmt: skip
    if any(isinstance(link, broken) for link in chain):
        return Fault(f"{address.base_url} could not be reached or broke off{_by_proxy(address)}: {message}")
    # JSON that is nested too deeply or too long, or text in an unknown encoding
    if isinstance(error, (openai.OpenAIError, ValueError, RecursionError, ArithmeticError, LookupError, TypeError)):
        return Fault(f"{address.base_url} sent what cannot be read: {message}")
    return EngineError(f"{address.spec} failed: {message}")


def _by_proxy(address: Address) -> str:
    try:
        proxy = address.used_proxy
    except ConfigurationError:  # the environment has changed in the meantime
        return ""
    return "" if proxy is None else f" through the proxy of {proxy}"


def _answer_error(address: Address, error: object) -> EngineError:
    """The error for a response whose status is not a success."""
    status, response = int(getattr(error, "status_code", 0)), getattr(error, "response", None)
    text = getattr(response, "text", "") or str(error)
    body = parsed(text)
    message = message_of(body) or text
    return status_error(address, status, getattr(response, "headers", {}), message, body)


def status_error(
    address: Address, status: int, headers: Mapping[str, str], message: str, body: object = None
) -> EngineError:
    """The error for an HTTP status, or for a status that an event of a stream names.

    Args:
        address: the endpoint.
        status: the HTTP status.
        headers: the headers of the answer; empty for an event.
        message: the server's message.
        body: the response as JSON, if it could be read.
    """
    detail = address.shown(message)
    answer = f"{address.base_url} answered {status}"
    if status in RETRIED or status >= 500:
        return Fault(f"{answer}: {detail}", retry_after_s=_retry_after(headers), status=status)
    if status in (400, 413, 422) and (overflow := read_overflow(message)) is not None:
        reason = "the prompt is too long" if overflow.excess is Excess.PROMPT else "the request is too long"
        return TooLong(f"{answer}: {reason}: {detail}", overflow)
    if status in (400, 422) and (fields := refused_fields(message, body)):
        return FieldsRefused(f"{answer}: {detail}", fields, status=status)
    if status in KEY_STATUSES:
        hint = how_to_give_a_key(address.role)
        text = f"{answer}: it does not accept the key; {hint} ({detail})"
        return RequestRefused(text, status=status, role=address.role)
    if status == 404:
        text = f"{answer}: check model= ({address.model!r}) and base_url= ({detail})"
        return RequestRefused(text, status=status)
    return RequestRefused(f"{answer}: {detail}", status=status)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds to wait according to ``retry-after-ms`` or ``Retry-After`` (seconds, or an HTTP date)."""
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
    except (TypeError, ValueError, OverflowError):
        return None
