"""Bounded concurrency: awaiting a function for many items, with a limit on how many items run at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeVar, overload

T = TypeVar("T")
R = TypeVar("R")


@overload
async def map_concurrently(
    function: Callable[[T], Awaitable[R]],
    items: Sequence[T],
    *,
    limit: int | None,
    return_exceptions: Literal[False] = False,
) -> list[R]: ...


@overload
async def map_concurrently(
    function: Callable[[T], Awaitable[R]], items: Sequence[T], *, limit: int | None, return_exceptions: bool
) -> list[R | BaseException]: ...


async def map_concurrently(
    function: Callable[[T], Awaitable[R]],
    items: Sequence[T],
    *,
    limit: int | None,
    return_exceptions: bool = False,
) -> list[R] | list[R | BaseException]:
    """Await ``function(item)`` for every item; returns the results in the order of the items.

    Args:
        function: an async function of one item.
        items: the items, begun in this order.
        limit: the most items that run at a time; ``None`` for no limit.
        return_exceptions: return an item's exception in place of its result. Otherwise the first exception is raised
            unchanged, and the other items are cancelled.

    When this function returns or raises, no item is still running.
    """
    gate = asyncio.Semaphore(limit or max(1, len(items)))

    async def gated(item: T) -> R:
        async with gate:
            return await function(item)

    tasks = [asyncio.ensure_future(gated(item)) for item in items]
    try:
        return await asyncio.gather(*tasks, return_exceptions=return_exceptions)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
