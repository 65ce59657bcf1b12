"""Hedging: if an attempt is late, a second, identical attempt is made, and the faster of the two is used."""

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
    """Await ``attempt()``; if it takes longer than ``after_s`` seconds, make a second attempt and use the faster one.

    The slower attempt is cancelled. If both attempts fail, the error of the first one is raised.

    Args:
        attempt: makes one attempt.
        after_s: when to make the second attempt, in seconds; ``None`` for never.
        discard: closes the result of an attempt that succeeded just after the other attempt.
        may_hedge: returns whether a second attempt may be made.
        on_loser: called if an attempt is cancelled because it was slower, but not if it failed by itself.
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
