"""Bounded concurrency."""

import asyncio

import pytest

from relay_core.concurrency import map_concurrently


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (3, 3), (None, 10)])
async def test_results_are_in_order_and_the_limit_holds(limit: int | None, most: int) -> None:
    running = seen = 0

    async def square(n: int) -> int:
        nonlocal running, seen
        running += 1
        seen = max(seen, running)
        await asyncio.sleep(0.001 * (10 - n))
        running -= 1
        return n * n

    assert await map_concurrently(square, range(10), limit=limit) == [n * n for n in range(10)]
    assert seen == most
    assert await map_concurrently(square, [], limit=limit) == []


async def test_the_first_failure_is_raised_as_it_is_and_ends_the_others() -> None:
    ended: list[int] = []

    async def work(n: int) -> int:
        try:
            if n == 2:
                raise ZeroDivisionError("two")
            await asyncio.sleep(3600)
            return n
        finally:
            ended.append(n)

    with pytest.raises(ZeroDivisionError, match="two"):
        await map_concurrently(work, range(5), limit=None)
    assert sorted(ended) == [0, 1, 2, 3, 4]


async def test_return_exceptions_puts_failures_in_their_places() -> None:
    async def work(n: int) -> int:
        if n % 2:
            raise ZeroDivisionError(n)
        return n

    results = await map_concurrently(work, range(4), limit=2, return_exceptions=True)
    assert [type(r) for r in results] == [int, ZeroDivisionError, int, ZeroDivisionError]
