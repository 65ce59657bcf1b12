"""Sync over async: one background event loop a process, so that blocking calls work anywhere, Jupyter and
running loops included, and engines that belong to a loop always meet the same one."""

from __future__ import annotations

import asyncio
import atexit
import os
import queue
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

T = TypeVar("T")


class _Background:
    """The lazily started loop; started anew in a forked child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._portal: BlockingPortal | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._exit: Callable[[], Any] | None = None
        self._pid = 0

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin ``work`` on the loop; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop())

    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                from anyio.from_thread import start_blocking_portal

                manager = start_blocking_portal("asyncio", name="relay")
                self._portal = manager.__enter__()
                self._loop = self._portal.call(asyncio.get_running_loop)
                self._exit = lambda: manager.__exit__(None, None, None)
                self._pid = os.getpid()
                atexit.register(self.stop)
            return self._loop

    def stop(self) -> None:
        with self._lock:
            portal, stop, self._exit, self._loop = self._portal, self._exit, None, None
        if portal is not None and stop is not None and self._pid == os.getpid():
            with suppress(RuntimeError):
                portal.call(portal.stop, True)  # nobody is left to wait for what still runs
            stop()


_background = _Background()


def run(function: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Await ``function(*args)`` on the background loop, from any thread but its own; an interrupt cancels it."""
    over = threading.Event()

    async def work() -> T:
        try:
            return await function(*args)
        finally:
            over.set()

    future = _background.start(work())
    try:
        return future.result()
    except BaseException:
        _cancel(future, over)
        raise


def iterate(make: Callable[[], AsyncGenerator[T, None]]) -> Iterator[T]:
    """Iterate an async generator from a thread; closing the iterator cancels the generator's work."""
    items: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    over = threading.Event()

    async def pump() -> None:
        try:
            async with aclosing(make()) as source:
                async for item in source:
                    items.put(("item", item))
        except BaseException as error:
            items.put(("error", error))
            if not isinstance(error, Exception):
                raise
        else:
            items.put(("end", None))
        finally:
            over.set()

    future = _background.start(pump())
    try:
        while True:
            kind, value = items.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        _cancel(future, over)


def _cancel(future: Future[Any], over: threading.Event) -> None:
    """Cancel what still runs, and wait until it has ended: not merely until it was told to."""
    if future.cancel():
        over.wait(timeout=5)
