"""Waiting until a point in time, on the clock of the running event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class OutOfTime(Exception):
    """A time limit has been reached."""


def is_past(deadline: float) -> bool:
    """Whether the event loop's time has reached ``deadline``."""
    return asyncio.get_running_loop().time() >= deadline


def deadline_in(seconds: float | None) -> float | None:
    """The event loop's time ``seconds`` from now; ``None`` (no deadline) if ``seconds`` is ``None``."""
    return None if seconds is None else asyncio.get_running_loop().time() + seconds


def earlier(a: float | None, b: float | None) -> float | None:
    """The earlier of two deadlines; ``None`` means no deadline."""
    return min((deadline for deadline in (a, b) if deadline is not None), default=None)


async def within(work: Awaitable[T], deadline: float | None) -> T:
    """Await ``work``.

    Raises:
        OutOfTime: the work was not done by the deadline; it has been cancelled.
    """
    if deadline is None:
        return await work
    try:
        async with asyncio.timeout_at(deadline) as limit:
            return await work
    except TimeoutError as error:
        if limit.expired():
            raise OutOfTime from error
        raise
