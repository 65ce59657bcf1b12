"""Hedging: a second, equal attempt is made when the first one is late, and the faster of the two wins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def hedged(
    attempt: Callable[[], Awaitable[T]],
    after_s: float | None,
    discard: Callable[[T], Awaitable[None]],
    *,
    may_hedge: Callable[[], bool] = lambda: True,
    on_loser: Callable[[], None] = lambda: None,
) -> T:
    """Await ``attempt()``; if it takes longer than ``after_s`` seconds, make a second attempt and take the faster.

    The slower attempt is cancelled. If both fail, the first one's error is raised.

    Args:
        attempt: makes one attempt.
        after_s: when to make the second attempt, in seconds; ``None`` for never.
        discard: closes the result of an attempt that succeeded just after the other.
        may_hedge: whether a second attempt may be made.
        on_loser: called for an attempt that lost; not for one that failed by itself.
    """
    if after_s is None:
        return await attempt()
    running = [asyncio.ensure_future(attempt())]
    winner: asyncio.Future[T] | None = None
    try:
        done, _ = await asyncio.wait(running, timeout=after_s)
        if not done and may_hedge():
            running.append(asyncio.ensure_future(attempt()))
        pending = set(running)
        while winner is None and pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            winner = next((task for task in done if task.exception() is None), None)
        return (winner or running[0]).result()
    finally:
        losers = [task for task in running if task is not winner]
        for task in losers:
            task.cancel()
        for outcome in await asyncio.gather(*losers, return_exceptions=True):
            if winner is not None and not isinstance(outcome, Exception):
                on_loser()
            if not isinstance(outcome, BaseException):
                await discard(outcome)
