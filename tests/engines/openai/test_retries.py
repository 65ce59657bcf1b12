"""Retries, the circuit breaker and `Patience`, without a network."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from relay_core.engines.base import BreakerState
from relay_core.engines.openai.faults import BreakerOpen, Fault
from relay_core.engines.openai.retries import Breaker, Patience, with_retries
from relay_core.errors import ConfigurationError, EngineError

QUICK = Patience(backoff_s=0.001, backoff_max_s=0.01, retries=3)


def in_seconds(seconds: float = 60) -> float:
    """A point in the event loop's time."""
    return asyncio.get_running_loop().time() + seconds


async def test_faults_are_retried_until_one_attempt_succeeds(failing: Any) -> None:
    attempt, times = failing(Fault("a"), Fault("b"), Fault("c"), "answer")
    assert await with_retries(attempt, QUICK, in_seconds()) == "answer"
    assert len(times) == 4


async def test_after_the_last_retry_the_error_says_how_often(failing: Any) -> None:
    attempt, times = failing(*(Fault(f"fault {i}") for i in range(9)))
    with pytest.raises(Fault, match=r"fault 3 \(gave up after 4 attempts in \d"):
        await with_retries(attempt, QUICK, in_seconds())
    assert len(times) == 4


async def test_an_error_that_is_no_fault_is_not_retried(failing: Any) -> None:
    attempt, times = failing(EngineError("no such model"), "never")
    with pytest.raises(EngineError, match=r"^no such model$"):
        await with_retries(attempt, QUICK, in_seconds())
    assert len(times) == 1


async def test_retry_after_is_the_least_wait(failing: Any) -> None:
    attempt, times = failing(Fault("busy", retry_after_s=0.3), "answer")
    await with_retries(attempt, QUICK, in_seconds())
    assert times[1] - times[0] >= 0.3


async def test_no_attempt_begins_after_the_deadline(failing: Any) -> None:
    attempt, times = failing(Fault("busy", retry_after_s=30), "never")
    began = asyncio.get_running_loop().time()
    with pytest.raises(Fault, match="busy"):
        await with_retries(attempt, QUICK, in_seconds(1))
    assert len(times) == 1
    assert asyncio.get_running_loop().time() - began < 1, "it does not wait for an attempt that may not begin"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def fail(breaker: Breaker) -> None:
    """Make one attempt that fails."""
    with pytest.raises(Fault), breaker.attempt():
        raise Fault("down")


def test_the_breaker_opens_half_opens_and_closes() -> None:
    clock = Clock()
    breaker = Breaker(3, 10, clock)
    for _ in range(2):
        fail(breaker)
    with breaker.attempt():
        pass  # a success: the count starts again
    for _ in range(3):
        assert breaker.state is BreakerState.CLOSED
        fail(breaker)
    assert breaker.state is BreakerState.OPEN
    with pytest.raises(BreakerOpen, match=r"open after 3 failures in a row.* in 10\.0 s; the last failure: down"):
        breaker.attempt().__enter__()
    clock.now += 10
    assert breaker.state is BreakerState.HALF_OPEN
    fail(breaker)  # the trial
    assert breaker.state is BreakerState.OPEN
    clock.now += 10
    with breaker.attempt(), pytest.raises(BreakerOpen):  # one trial at a time
        breaker.attempt().__enter__()
    assert breaker.state is BreakerState.CLOSED


def test_a_cancelled_trial_has_no_outcome_and_another_one_may_follow() -> None:
    clock = Clock()
    breaker = Breaker(1, 10, clock)
    fail(breaker)
    clock.now += 10
    with pytest.raises(asyncio.CancelledError), breaker.attempt():
        raise asyncio.CancelledError
    assert breaker.state is BreakerState.HALF_OPEN
    with breaker.attempt():
        pass
    assert breaker.state is BreakerState.CLOSED


def test_an_error_that_is_no_fault_does_not_open_the_breaker() -> None:
    breaker = Breaker(1, 10)
    with pytest.raises(EngineError), breaker.attempt():
        raise EngineError("no such model")
    assert breaker.state is BreakerState.CLOSED


def test_without_a_number_the_breaker_never_opens() -> None:
    breaker = Breaker(None, 10)
    for _ in range(50):
        fail(breaker)
    assert breaker.state is BreakerState.CLOSED


async def test_an_open_breaker_ends_the_retries() -> None:
    breaker, attempts = Breaker(2, 60), 0

    async def attempt() -> None:
        nonlocal attempts
        with breaker.attempt():
            attempts += 1
            raise Fault("down")

    with pytest.raises(BreakerOpen, match=r"the last failure: down \(after 2 attempts\)"):
        await with_retries(attempt, QUICK, in_seconds())
    assert attempts == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("connect_s", 0), ("total_s", -1), ("retries", 1.5), ("retries", -1), ("max_in_flight", 0), ("connect_s", None),
     ("hedge_after_s", 0), ("breaker_after", 0), ("first_token_s", "1"), ("retries", True)],
)  # fmt: skip
def test_patience_is_checked_when_built(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Patience(**{name: value})


def test_options_replace_the_fields_of_patience() -> None:
    assert Patience(total_s=5).with_options(retries=0) == Patience(total_s=5, retries=0)
    with pytest.raises(ConfigurationError, match=r"no option 'retrys': did you mean retries\?"):
        Patience().with_options(retrys=3)
