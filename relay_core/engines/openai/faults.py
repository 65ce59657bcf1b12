"""The errors that this package raises for itself, and their translation at its edge.

EngineError
├── Fault            a transient failure: another attempt may succeed
├── RequestRefused   the endpoint refused a request; a retry would be refused too
└── BreakerOpen      the circuit breaker is open: the request was not sent
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from relay_core.errors import EngineError

KEY_STATUSES = (401, 403)


class Fault(EngineError):
    """A transient failure.

    ``retry_after_s``: the seconds to wait before the next attempt, if the endpoint named any. ``status``: the HTTP
    status, if there was an answer.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s, self.status = retry_after_s, status


class RequestRefused(EngineError):
    """The endpoint refused a request for a reason that a retry cannot mend; ``status`` is the HTTP status."""

    def __init__(self, message: str, *, status: int | None = None, role: str | None = None) -> None:
        super().__init__(message, role=role)
        self.status = status

    @property
    def is_about_the_key(self) -> bool:
        """Whether the endpoint does not accept the API key."""
        return self.status in KEY_STATUSES


class BreakerOpen(EngineError):
    """The request was not sent: the endpoint failed too often in a row."""


@contextmanager
def without_internal_types() -> Iterator[None]:
    """Turn this package's own errors into a plain ``EngineError`` for callers; the original is its cause.

    Raises:
        EngineError: in place of a ``Fault``, a ``RequestRefused`` or a ``BreakerOpen``.
    """
    try:
        yield
    except (Fault, RequestRefused, BreakerOpen) as error:
        raise EngineError(error.message, role=error.role) from error
