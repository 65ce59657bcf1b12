"""Hedging: a second attempt when the first one is late, without a network."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from relay_core.engines.openai.faults import Fault
from relay_core.engines.openai.hedging import hedged


async def keep(_: object) -> None:
    return None


async def test_without_hedging_there_is_one_attempt(failing: Any) -> None:
    attempt, times = failing("answer")
    assert await hedged(attempt, None, keep) == "answer"
    assert len(times) == 1


async def test_a_quick_first_attempt_is_not_hedged(failing: Any) -> None:
    attempt, times = failing("answer")
    assert await hedged(attempt, 5, keep) == "answer"
    assert len(times) == 1


async def test_the_faster_second_attempt_wins_and_the_first_is_cancelled() -> None:
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

    assert await hedged(attempt, 0.01, keep) == 2
    assert cancelled.is_set()


@pytest.mark.parametrize("fails", [False, True])
async def test_a_loser_is_reported_unless_it_failed_by_itself(fails: bool) -> None:
    reports, calls, failed = list[int](), 0, asyncio.Event()

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

    assert await hedged(attempt, 0.005, keep, on_loser=lambda: reports.append(calls)) == 2
    assert reports == ([] if fails else [2])


async def test_without_a_winner_there_is_no_loser() -> None:
    reports = list[int]()
    attempt = asyncio.ensure_future(hedged(asyncio.Event().wait, 0.001, keep, on_loser=lambda: reports.append(1)))
    await asyncio.sleep(0.02)
    attempt.cancel()
    await asyncio.gather(attempt, return_exceptions=True)
    assert reports == []


async def test_no_second_attempt_is_made_where_it_is_forbidden() -> None:
    times = list[int]()

    async def attempt() -> str:
        times.append(1)
        await asyncio.sleep(0.05)
        return "the first"

    assert await hedged(attempt, 0.001, keep, may_hedge=lambda: False) == "the first"
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

    assert await hedged(attempt, 0.01, keep) == "the first"


async def test_when_both_fail_the_first_ones_error_is_raised(failing: Any) -> None:
    attempt, _ = failing(Fault("one"), Fault("two"))

    async def slow() -> str:
        await asyncio.sleep(0.02)
        return await attempt()

    with pytest.raises(Fault, match="one"):
        await hedged(slow, 0.005, keep)


async def test_the_result_of_a_loser_is_discarded() -> None:
    discarded, opened, both_opened = list[object](), list[object](), asyncio.Event()

    async def attempt() -> object:
        resource = object()
        opened.append(resource)
        if len(opened) == 2:
            both_opened.set()
        await both_opened.wait()
        return resource

    async def discard(resource: object) -> None:
        discarded.append(resource)

    winner = await hedged(attempt, 0.01, discard)
    assert sorted(map(id, [winner, *discarded])) == sorted(map(id, opened))
