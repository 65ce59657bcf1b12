"""Many awaits at once, at most so many at a time."""

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
    """Await ``function(item)`` for every item; the results, in the order of the items.

    Args:
        limit: at most so many at a time, begun in order; ``None`` for all at once.
        return_exceptions: put an item's exception in its place. Otherwise the first one is raised as it is, and the
            others are cancelled.

    However this ends, every await that it began has ended too.
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
