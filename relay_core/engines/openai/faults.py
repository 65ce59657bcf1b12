"""Errors that are used only inside this package; http_errors.py converts them into public errors at its edge.

EngineError
├── Fault            a transient failure: another attempt may succeed
├── RequestRefused   the endpoint refused a request; a retry would be refused, too
├── NoAnswer         the endpoint ended its answer without any text
└── BreakerOpen      the circuit breaker is open: the request was not sent
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from relay_core.engines.base import EngineUsage
from relay_core.errors import EngineError

KEY_STATUSES = (401, 403)


class Fault(EngineError):
    """A transient failure.

    ``retry_after_s``: the seconds to wait before the next attempt, if the endpoint names a number. ``status``: the HTTP
    status, if there was an answer.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s, self.status = retry_after_s, status


class RequestRefused(EngineError):
    """The endpoint refused a request for a reason that a retry cannot fix; ``status`` is the HTTP status."""

    def __init__(self, message: str, *, status: int | None = None, role: str | None = None) -> None:
        super().__init__(message, role=role)
        self.status = status

    @property
    def is_about_the_key(self) -> bool:
        """Whether the endpoint does not accept the API key."""
        return self.status in KEY_STATUSES


class NoAnswer(EngineError):
    """The endpoint ended its answer without any text; the request is not retried.

    ``usage``: the usage that the endpoint reports. ``written_tokens``: the number of tokens that it wrote, such as
    reasoning.
    """

    def __init__(self, message: str, usage: EngineUsage | None, written_tokens: int) -> None:
        super().__init__(message)
        self.usage, self.written_tokens = usage, written_tokens


class BreakerOpen(EngineError):
    """The request was not sent, because too many consecutive requests have failed."""


@contextmanager
def reading(what: str) -> Iterator[None]:
    """A context for reading data from an endpoint: every exception that is not ours becomes a ``Fault``.

    Args:
        what: the data, for the message.

    Raises:
        Fault: instead of any other exception, such as a ``TypeError``, an ``OverflowError`` or a ``RecursionError``.
    """
    try:
        yield
    except EngineError:
        raise
    except Exception as error:
        raise Fault(f"malformed {what}: {type(error).__name__}") from error
