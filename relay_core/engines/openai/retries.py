"""Steadiness towards an endpoint that is not: deadlines, retries, a circuit breaker, fair turns, hedging.

One place for all of it, knowing nothing of HTTP: an attempt is a function to await, and :class:`Fault` is how it
says that another attempt may succeed. Retries and their waits are tenacity's.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TypeVar

from relay_core.engines.base import BreakerState
from relay_core.errors import ConfigurationError, EngineError

T = TypeVar("T")


class Fault(EngineError):
    """A failure that may pass.

    ``retry_after_s``: seconds that the other side asked to be left alone. ``status``: what it answered, if it did.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s, self.status = retry_after_s, status


class BreakerOpen(EngineError):
    """Refused here, without asking: the endpoint failed too often in a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait, and how often to try.

    Args:
        connect_s: seconds to open a connection.
        first_token_s: seconds of silence allowed: until the first token, and between two.
        total_s: seconds for one request with all its retries, from first attempt to last token.
        retries: further attempts after the first one, counted anew once a token has come.
        backoff_s, backoff_max_s: the wait before retry ``i`` is drawn from 0 to ``min(backoff_max_s,
            backoff_s * 2**i)`` seconds (exponential back-off with full jitter); ``Retry-After`` is its least.
        breaker_after: failures in a row that open the circuit breaker; ``None`` for no breaker.
        breaker_open_s: seconds until an open breaker lets one request through to see.
        max_in_flight: requests at once, of each event loop; others wait their turn, first come first served.
        hedge_after_s: send a second, equal request when the first token is this late; ``None`` never does.

    Raises:
        ConfigurationError: a value out of range.
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
        least = {"retries": 0, "backoff_s": 0, "backoff_max_s": 0, "breaker_after": 1, "max_in_flight": 1}
        whole = ("retries", "breaker_after", "max_in_flight")
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            if value is None and name in ("breaker_after", "hedge_after_s"):
                continue
            kind = int if name in whole else (int, float)
            low = least.get(name)
            if (
                isinstance(value, bool)
                or not isinstance(value, kind)
                or not (value > 0 if low is None else value >= low)
            ):
                what = "a whole number" if name in whole else "seconds"
                raise ConfigurationError(
                    f"{name} is {value!r}: write {what}, {'more than 0' if low is None else f'{low} or more'}"
                )


class Breaker:
    """A circuit breaker, shared by all requests to one endpoint, from any thread.

    It opens after ``after`` failures in a row and half-opens ``open_s`` seconds later: then one request goes
    through, and its outcome closes it or opens it again. Any success closes it.
    """

    def __init__(self, after: int | None, open_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._after, self._open_s, self._clock = after, open_s, clock
        self._lock = threading.Lock()
        self._failures, self._last = 0, ""
        self._opened: float | None = None
        self._trial = False  # the one request of a half-open breaker is under way

    @property
    def state(self) -> BreakerState:
        """What it would do with a request now."""
        if self._opened is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self._clock() < self._opened + self._open_s else BreakerState.HALF_OPEN

    @property
    def trouble(self) -> str:
        """Its last failure; empty where a success has come since."""
        return self._last if self._failures else ""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around one attempt: admits it, and learns from how it ends; a cancelled one teaches nothing.

        Raises:
            BreakerOpen: it was not admitted.
        """
        trial = self._admit()
        try:
            yield
        except Fault as fault:
            self.failed(fault.message)
            raise
        except EngineError:
            self.succeeded()  # it answered, though not what was hoped for
            raise
        else:
            self.succeeded()
        finally:
            if trial:
                with self._lock:
                    self._trial = False

    def _admit(self) -> bool:
        with self._lock:
            state = self.state
            if state is BreakerState.CLOSED:
                return False
            if state is BreakerState.HALF_OPEN and not self._trial:
                self._trial = True
                return True
            assert self._opened is not None
            left = max(0.0, self._opened + self._open_s - self._clock())
            raise BreakerOpen(
                f"not asked: the circuit breaker is open after {self._failures} failures in a row; it tries again "
                f"in {left:.1f} s; the last failure: {self._last}"
            )

    def failed(self, why: str) -> None:
        """One more failure."""
        with self._lock:
            self._failures, self._last = self._failures + 1, why
            opens = self._after is not None and self._failures >= self._after
            if opens and self.state is not BreakerState.OPEN:
                self._opened = self._clock()

    def succeeded(self) -> None:
        """A success: the count starts again."""
        with self._lock:
            self._failures, self._opened = 0, None


async def persist(attempt: Callable[[], Awaitable[T]], patience: Patience, until: float) -> T:
    """Await ``attempt()`` until it succeeds, waiting between attempts.

    Args:
        until: the loop's time after which no attempt begins.

    Raises:
        Fault: the last one, when there are no attempts or no time left; it says how often and how long.
        EngineError: anything that another attempt would not mend, at once.
    """
    from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
    from tenacity import wait_random_exponential as exponential

    loop = asyncio.get_running_loop()
    began, tried = loop.time(), 0
    jittered = exponential(multiplier=patience.backoff_s, max=patience.backoff_max_s)

    def pause(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.retry_after_s if isinstance(error, Fault) else None
        return max(asked or 0.0, jittered(state))

    def out_of_time(state: RetryCallState) -> bool:
        return loop.time() + state.upcoming_sleep >= until

    async def counted() -> T:
        nonlocal tried
        tried += 1
        return await attempt()

    retrying = AsyncRetrying(
        stop=stop_after_attempt(patience.retries + 1) | out_of_time,  # type: ignore[operator]
        wait=pause,
        retry=retry_if_exception_type(Fault),
        reraise=True,
    )
    try:
        return await retrying(counted)
    except Fault as fault:
        took = loop.time() - began
        raise Fault(
            f"{fault.message} (gave up after {tried} attempt{'s' * (tried > 1)} in {took:.1f} s)",
            retry_after_s=fault.retry_after_s,
            status=fault.status,
        ) from fault
    except BreakerOpen as refused:
        if tried > 1:  # it opened between two attempts
            raise BreakerOpen(f"{refused.message} (after {tried - 1} attempts)") from refused
        raise


async def hedged(
    attempt: Callable[[], Awaitable[T]],
    after_s: float | None,
    discard: Callable[[T], Awaitable[None]],
    *,
    may: Callable[[], bool] = lambda: True,
    beaten: Callable[[], None] = lambda: None,
) -> T:
    """The first success of ``attempt()`` and, once that is ``after_s`` seconds late, of a second one.

    The loser is cancelled, and ``beaten`` told; ``discard`` closes what it had opened, where it lost by a hair. There
    is no second one where ``may`` forbids it.
    """
    if after_s is None:
        return await attempt()
    running = [asyncio.ensure_future(attempt())]
    won: asyncio.Future[T] | None = None
    try:
        done, _ = await asyncio.wait(running, timeout=after_s)
        if not done and may():
            running.append(asyncio.ensure_future(attempt()))
        pending = set(running)
        while won is None and pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            won = next((task for task in done if task.exception() is None), None)
        return (won or running[0]).result()
    finally:
        losers = [task for task in running if task is not won]
        for task in losers:
            task.cancel()
        for outcome in await asyncio.gather(*losers, return_exceptions=True):
            if won is not None and not isinstance(outcome, Exception):  # a failure was no loser
                beaten()
            if not isinstance(outcome, BaseException):
                await discard(outcome)
