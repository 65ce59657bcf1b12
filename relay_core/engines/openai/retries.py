"""Deadlines, retries and the circuit breaker of one endpoint.

This module is independent of HTTP: an attempt is an async function that raises
:class:`~relay_core.engines.openai.faults.Fault` for a transient failure. The library tenacity retries it, and waits
between attempts.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from relay_core.engines.base import BreakerState
from relay_core.engines.forked import watch_forks
from relay_core.engines.openai.faults import BreakerOpen, Fault
from relay_core.errors import ConfigurationError, EngineError, did_you_mean

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for an endpoint, and how often to try.

    Args:
        connect_s: the most seconds to open a connection.
        first_token_s: the most seconds of silence before the first token, and between two tokens.
        total_s: the most seconds for one request with all its retries, from the first attempt to the last token.
        retries: the most attempts after the first one, over the whole stream; also the most times that a stream is
            resumed after it broke.
        backoff_s: the wait before retry ``i`` is drawn from 0 to ``min(backoff_max_s, backoff_s * 2**i)`` seconds
            (exponential back-off with full jitter), and is at least the endpoint's ``Retry-After``.
        backoff_max_s: the upper bound of that wait, in seconds.
        breaker_after: the number of consecutive failures that opens the circuit breaker; ``None`` for no breaker.
        breaker_open_s: seconds until an open breaker lets one request through as a trial.
        max_in_flight: the most concurrent requests per event loop; further requests wait, in order of arrival.
        hedge_after_s: seconds without a first token after which a second, identical request is sent; ``None`` for
            never.

    Raises:
        ConfigurationError: a value is out of range.
    """

    connect_s: float = 10.0
    first_token_s: float = 60.0
    total_s: float = 600.0
    retries: int = 4
    backoff_s: float = 0.5
    backoff_max_s: float = 8.0
    breaker_after: int | None = 8
    breaker_open_s: float = 15.0
    max_in_flight: int = 512
    hedge_after_s: float | None = None

    def __post_init__(self) -> None:
        minimums = {"retries": 0, "backoff_s": 0, "backoff_max_s": 0, "breaker_after": 1, "max_in_flight": 1}
        counts = ("retries", "breaker_after", "max_in_flight")
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if value is None and name in ("breaker_after", "hedge_after_s"):
                continue
            minimum = minimums.get(name)
            is_number = isinstance(value, int if name in counts else (int, float)) and not isinstance(value, bool)
            if not is_number or not (value > 0 if minimum is None else value >= minimum):
                unit = "a whole number" if name in counts else "seconds"
                bound = "more than 0" if minimum is None else f"{minimum} or more"
                raise ConfigurationError(f"{name} is {value!r}: write {unit}, {bound}")

    def with_options(self, **options: Any) -> Patience:
        """A copy with some fields replaced.

        Raises:
            ConfigurationError: there is no such field, or its value is out of range.
        """
        names = [field.name for field in fields(self)]
        for name in options:
            if name not in names:
                raise ConfigurationError(f"OpenAIEngine has no option {name!r}: {did_you_mean(name, names)}")
        return replace(self, **options)


class Breaker:
    """A circuit breaker, shared by all requests to one endpoint; safe to use from any thread.

    It opens after ``after`` consecutive failures. After ``open_s`` seconds it is half-open: it lets one request through
    as a trial, whose outcome closes it or opens it again. Any success closes it.

    Args:
        after: the number of consecutive failures that opens the breaker; ``None`` for never.
        open_s: seconds until a trial.
        clock: returns the time in seconds.
    """

    def __init__(self, after: int | None, open_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._after, self._open_s, self._clock = after, open_s, clock
        self._failures = 0  # consecutive failures
        self._last_message = ""
        self._opened_at: float | None = None
        self.forget_parent()
        watch_forks(self)

    def forget_parent(self) -> None:
        """In a forked child: keep the count of failures, but not the parent's trial request."""
        self._lock = threading.Lock()
        self._has_trial = False  # whether the trial request of a half-open breaker is in flight

    @property
    def state(self) -> BreakerState:
        """The state, which says whether a request would pass now."""
        if self._opened_at is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self._clock() < self._opened_at + self._open_s else BreakerState.HALF_OPEN

    @property
    def last_failure(self) -> str:
        """The message of the latest failure; empty after a success."""
        return self._last_message if self._failures else ""

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Admit the attempt in this context, and record its outcome; a cancelled attempt has no outcome.

        Raises:
            BreakerOpen: the attempt is not admitted.
        """
        is_trial = self._admit()
        try:
            yield
        except Fault as fault:
            self.record_failure(fault.message)
            raise
        except EngineError:
            self.record_success()  # the endpoint is up, although it refused the request
            raise
        else:
            self.record_success()
        finally:
            if is_trial:
                with self._lock:
                    self._has_trial = False

    def _admit(self) -> bool:
        """Admit an attempt or raise ``BreakerOpen``; return whether it is a trial."""
        with self._lock:
            state = self.state
            if state is BreakerState.CLOSED:
                return False
            if state is BreakerState.HALF_OPEN and not self._has_trial:
                self._has_trial = True
                return True
            assert self._opened_at is not None
            left_s = max(0.0, self._opened_at + self._open_s - self._clock())
            raise BreakerOpen(
                f"not asked: the circuit breaker is open after {self._failures} failures in a row; it tries again "
                f"in {left_s:.1f} s; the last failure: {self._last_message}"
            )

    def record_failure(self, message: str) -> None:
        """Count a failure, and open the breaker after enough consecutive failures."""
        with self._lock:
            self._failures, self._last_message = self._failures + 1, message
            opens = self._after is not None and self._failures >= self._after
            if opens and self.state is not BreakerState.OPEN:
                self._opened_at = self._clock()

    def record_success(self) -> None:
        """Close the breaker and start counting again."""
        with self._lock:
            self._failures, self._opened_at = 0, None


async def with_retries(attempt: Callable[[], Awaitable[T]], patience: Patience, deadline: float) -> T:
    """Await ``attempt()`` until it succeeds, waiting between attempts.

    Args:
        attempt: makes one attempt.
        patience: how many retries, and how long to wait before each.
        deadline: the event loop's time after which no attempt begins.

    Raises:
        Fault: the last attempt failed, and no retries or no time are left; the message says how many attempts were made
            and how long they took.
        EngineError: any other error; it is raised immediately, because a retry would not help.
    """
    from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
    from tenacity import wait_random_exponential as exponential

    loop = asyncio.get_running_loop()
    began, attempts = loop.time(), 0
    jittered = exponential(multiplier=patience.backoff_s, max=patience.backoff_max_s)

    def pause_s(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        retry_after_s = error.retry_after_s if isinstance(error, Fault) else None
        return max(retry_after_s or 0.0, jittered(state))

    def out_of_time(state: RetryCallState) -> bool:
        return loop.time() + state.upcoming_sleep >= deadline

    async def counted_attempt() -> T:
        nonlocal attempts
        attempts += 1
        return await attempt()

    retrying = AsyncRetrying(
        stop=stop_after_attempt(patience.retries + 1) | out_of_time,  # type: ignore[operator]
        wait=pause_s,
        retry=retry_if_exception_type(Fault),
        reraise=True,
    )
    try:
        return await retrying(counted_attempt)
    except Fault as fault:
        seconds = loop.time() - began
        raise type(fault)(
            f"{fault.message} (gave up after {attempts} attempt{'s' * (attempts > 1)} in {seconds:.1f} s)",
            retry_after_s=fault.retry_after_s,
            status=fault.status,
        ) from fault
    except BreakerOpen as error:
        if attempts > 1:  # the breaker opened between two attempts
            raise BreakerOpen(f"{error.message} (after {attempts - 1} attempts)") from error
        raise
