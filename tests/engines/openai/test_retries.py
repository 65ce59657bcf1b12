"""Retries, breaker, hedging and patience, without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from relay_core.engines.openai.retries import Breaker, BreakerOpen, BreakerState, Fault, Patience, hedged, persist
from relay_core.errors import ConfigurationError, EngineError

QUICK = Patience(backoff_s=0.001, backoff_max_s=0.01, retries=3)


def failing(*outcomes: BaseException | str) -> tuple[Callable[[], Awaitable[str]], list[float]]:
    """An attempt that does these in order, and the times at which it was made."""
    left, times = list(outcomes), list[float]()

    async def attempt() -> str:
        times.append(asyncio.get_running_loop().time())
        outcome = left.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return attempt, times


def soon(seconds: float = 60) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_faults_are_retried_until_one_attempt_succeeds() -> None:
    attempt, times = failing(Fault("a"), Fault("b"), Fault("c"), "well")
    assert await persist(attempt, QUICK, soon()) == "well"
    assert len(times) == 4


async def test_after_the_last_retry_the_error_says_how_often() -> None:
    attempt, times = failing(*(Fault(f"fault {i}") for i in range(9)))
    with pytest.raises(Fault, match=r"fault 3 \(gave up after 4 attempts in \d"):
        await persist(attempt, QUICK, soon())
    assert len(times) == 4


async def test_what_is_our_doing_is_not_retried() -> None:
    attempt, times = failing(EngineError("no such model"), "never")
    with pytest.raises(EngineError, match=r"^no such model$"):
        await persist(attempt, QUICK, soon())
    assert len(times) == 1


async def test_retry_after_is_the_least_wait() -> None:
    attempt, times = failing(Fault("busy", retry_after_s=0.3), "well")
    await persist(attempt, QUICK, soon())
    assert times[1] - times[0] >= 0.3


async def test_no_attempt_begins_after_the_deadline() -> None:
    attempt, times = failing(Fault("busy", retry_after_s=30), "never")
    began = asyncio.get_running_loop().time()
    with pytest.raises(Fault, match="busy"):
        await persist(attempt, QUICK, soon(1))
    assert len(times) == 1
    assert asyncio.get_running_loop().time() - began < 1, "it does not wait for what it may not use"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def broken(breaker: Breaker) -> None:
    with pytest.raises(Fault), breaker.watching():
        raise Fault("down")


def test_the_breaker_opens_half_opens_and_closes() -> None:
    clock = Clock()
    breaker = Breaker(3, 10, clock)
    for _ in range(2):
        broken(breaker)
    with breaker.watching():
        pass  # a success between: the count starts again
    for _ in range(3):
        assert breaker.state is BreakerState.CLOSED
        broken(breaker)
    assert breaker.state is BreakerState.OPEN
    with pytest.raises(BreakerOpen, match=r"open after 3 failures in a row.* in 10\.0 s; the last failure: down"):
        breaker.watching().__enter__()
    clock.now += 10
    assert breaker.state is BreakerState.HALF_OPEN
    broken(breaker)  # one was let through; it failed
    assert breaker.state is BreakerState.OPEN
    clock.now += 10
    with breaker.watching(), pytest.raises(BreakerOpen):  # one only
        breaker.watching().__enter__()
    assert breaker.state is BreakerState.CLOSED


def test_a_cancelled_trial_teaches_nothing_and_leaves_room_for_the_next() -> None:
    clock = Clock()
    breaker = Breaker(1, 10, clock)
    broken(breaker)
    clock.now += 10
    with pytest.raises(asyncio.CancelledError), breaker.watching():
        raise asyncio.CancelledError
    assert breaker.state is BreakerState.HALF_OPEN
    with breaker.watching():
        pass
    assert breaker.state is BreakerState.CLOSED


def test_an_error_of_ours_does_not_open_the_breaker() -> None:
    breaker = Breaker(1, 10)
    with pytest.raises(EngineError), breaker.watching():
        raise EngineError("no such model")
    assert breaker.state is BreakerState.CLOSED


def test_without_a_number_the_breaker_never_opens() -> None:
    breaker = Breaker(None, 10)
    for _ in range(50):
        broken(breaker)
    assert breaker.state is BreakerState.CLOSED


async def test_an_open_breaker_ends_the_retries() -> None:
    breaker, times = Breaker(2, 60), list[int]()

    async def attempt() -> None:
        with breaker.watching():
            times.append(1)
            raise Fault("down")

    with pytest.raises(BreakerOpen, match=r"the last failure: down \(after 2 attempts\)"):
        await persist(attempt, QUICK, soon())
    assert len(times) == 2


async def nothing(_: object) -> None:
    return None


async def test_without_hedging_there_is_one_attempt() -> None:
    attempt, times = failing("well")
    assert await hedged(attempt, None, nothing) == "well"
    assert len(times) == 1


async def test_a_quick_first_attempt_is_not_hedged() -> None:
    attempt, times = failing("well")
    assert await hedged(attempt, 5, nothing) == "well"
    assert len(times) == 1


async def test_the_second_wins_and_the_first_is_cancelled() -> None:
    cancelled = asyncio.Event()
    calls = 0

    async def attempt() -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            return 2
        try:
            return await asyncio.Event().wait()
        finally:
            cancelled.set()

    assert await hedged(attempt, 0.01, nothing) == 2
    assert cancelled.is_set()


@pytest.mark.parametrize("fails", [False, True])
async def test_a_loser_is_told_of_unless_it_failed_by_itself(fails: bool) -> None:
    told, calls, failed = list[int](), 0, asyncio.Event()

    async def attempt() -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            await (failed.wait() if fails else asyncio.sleep(0))
            return 2
        if fails:
            await asyncio.sleep(0.02)
            failed.set()
            raise Fault("the first")
        return await asyncio.Event().wait()

    assert await hedged(attempt, 0.005, nothing, beaten=lambda: told.append(calls)) == 2
    assert told == ([] if fails else [2])


async def test_nobody_is_beaten_where_nobody_wins() -> None:
    told = list[int]()
    attempt = asyncio.ensure_future(hedged(asyncio.Event().wait, 0.001, nothing, beaten=lambda: told.append(1)))
    await asyncio.sleep(0.02)
    attempt.cancel()
    await asyncio.gather(attempt, return_exceptions=True)
    assert told == []


async def test_no_second_attempt_where_it_is_forbidden() -> None:
    times = list[int]()

    async def attempt() -> str:
        times.append(1)
        await asyncio.sleep(0.05)
        return "the first"

    assert await hedged(attempt, 0.001, nothing, may=lambda: False) == "the first"
    assert len(times) == 1


async def test_a_failed_hedge_does_not_fail_the_first() -> None:
    calls, go = 0, asyncio.Event()

    async def attempt() -> str:
        nonlocal calls
        calls += 1
        if calls == 2:
            go.set()
            raise Fault("the second")
        await go.wait()
        await asyncio.sleep(0)
        return "the first"

    assert await hedged(attempt, 0.01, nothing) == "the first"


async def test_when_both_fail_the_first_ones_error_is_told() -> None:
    attempt, _ = failing(Fault("one"), Fault("two"))

    async def slow() -> str:
        await asyncio.sleep(0.02)
        return await attempt()

    with pytest.raises(Fault, match="one"):
        await hedged(slow, 0.005, nothing)


async def test_a_loser_that_had_opened_something_is_closed() -> None:
    discarded, opened, both = list[object](), list[object](), asyncio.Event()

    async def attempt() -> object:
        opened.append(object())
        mine = opened[-1]
        if len(opened) == 2:
            both.set()
        await both.wait()
        return mine

    async def discard(lost: object) -> None:
        discarded.append(lost)

    won = await hedged(attempt, 0.01, discard)
    assert sorted(map(id, [won, *discarded])) == sorted(map(id, opened))


@pytest.mark.parametrize(
    ("name", "value"),
    [("connect_s", 0), ("total_s", -1), ("retries", 1.5), ("retries", -1), ("max_in_flight", 0), ("connect_s", None),
     ("hedge_after_s", 0), ("breaker_after", 0), ("first_token_s", "1"), ("retries", True)],
)  # fmt: skip
def test_patience_is_checked_when_built(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Patience(**{name: value})
