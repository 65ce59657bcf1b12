"""Where HTTP errors become ours.

Transient failures become :class:`~relay_core.engines.openai.faults.Fault` and are retried. Configuration mistakes
become an error that names the setting to change.
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from relay_core.engines.openai.address import Address
from relay_core.engines.openai.faults import KEY_STATUSES, Fault, RequestRefused
from relay_core.errors import ContextOverflow, EngineError
from relay_core.keys import how_to_give_a_key

RETRIED = (408, 409, 429)  # and every status from 500 on
_OVERFLOW = re.compile(
    r"context[ _](length|size|window)|maximum (model|input) length|too many tokens|at least 1, got (0|-\d)", re.I
)


@contextmanager
def translate_errors(address: Address) -> Iterator[None]:
    """Turn the errors of the HTTP libraries into ours; the original is the cause.

    Raises:
        Fault: a connection error, a time-out, or one of the statuses 408, 409, 429 and 5xx, with its ``Retry-After``.
        ContextOverflow: the endpoint says that the prompt is longer than its context.
        RequestRefused: any other status; the message names the setting to change.
    """
    import aiohttp
    import httpx
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        raise status_error(address, error.status_code, error.response.headers, error.message) from error
    except (openai.APIConnectionError, httpx.HTTPError, httpx.StreamError, aiohttp.ClientError, OSError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__  # the innermost error is the most specific
        message = address.redact(f"{type(cause).__name__}: {cause}".rstrip(": "))
        raise Fault(f"{address.base_url} could not be reached or broke off: {message}") from error
    except (openai.OpenAIError, ValueError) as error:
        message = address.redact(f"{type(error).__name__}: {error}")[:300]
        raise Fault(f"{address.base_url} sent what cannot be read: {message}") from error


def status_error(address: Address, status: int, headers: Mapping[str, str], message: str) -> EngineError:
    """The error that an HTTP status means; also of a status that an event of a stream names (``headers`` empty)."""
    detail = address.redact(message)[:300]
    answer = f"{address.base_url} answered {status}"
    if status in RETRIED or status >= 500:
        return Fault(f"{answer}: {detail}", retry_after_s=_retry_after(headers), status=status)
    if status in (400, 413, 422) and _OVERFLOW.search(message):
        return ContextOverflow(f"{answer}: the prompt is too long: {detail}")
    if status in KEY_STATUSES:
        hint = how_to_give_a_key(address.role)
        text = f"{answer}: it does not accept the key; {hint} ({detail})"
        return RequestRefused(text, status=status, role=address.role)
    if status == 404:
        text = f"{answer}: check model= ({address.model!r}) and base_url= ({detail})"
        return RequestRefused(text, status=status)
    return RequestRefused(f"{answer}: {detail}", status=status)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that ``retry-after-ms`` or ``Retry-After`` (seconds, or an HTTP date) ask to wait."""
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
