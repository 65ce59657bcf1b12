"""Many awaits at once, so many at a time; the first failure cancels the others and is raised as it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def each(do: Callable[[T], Awaitable[None]], items: Iterable[T], *, limit: int) -> None:
    """Await ``do(item)`` for every item, at most ``limit`` at a time, begun in order."""
    import anyio

    gate = anyio.CapacityLimiter(limit)

    async def gated(item: T) -> None:
        async with gate:
            await do(item)

    try:
        async with anyio.create_task_group() as tasks:
            for item in items:
                tasks.start_soon(gated, item)
    except ExceptionGroup as group:
        raise group.exceptions[0] from group
