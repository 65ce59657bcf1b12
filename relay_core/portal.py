"""Blocking calls to async code, on one background event loop per process.

The background loop lets blocking calls work anywhere, even in Jupyter and inside a running event loop, and engines that
are bound to a loop always run on the same loop. On the background loop itself, a blocking call would wait for its own
end, so it raises an error there. A forked child starts its own loop.
"""

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

from relay_core.errors import ConfigurationError

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

T = TypeVar("T")


class _Background:
    """The background loop. It starts on first use; a forked child starts a new loop."""

    def __init__(self) -> None:
        self._abandoned: list[Any] = []
        self.forget()

    def forget(self) -> None:
        """Reset the state in a forked child, where the loop's thread does not exist and the lock may still be held.

        A reference to the parent's portal is kept. If the portal were garbage-collected, it would wait for a thread
        that does not exist in the child.
        """
        self._abandoned.append((getattr(self, "_portal", None), getattr(self, "_exit", None)))
        self._lock = threading.Lock()
        self._portal: BlockingPortal | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._exit: Callable[[], Any] | None = None
        self._thread_id = 0

    @property
    def is_current(self) -> bool:
        """Whether the calling thread is the thread of the loop."""
        return threading.get_ident() == self._thread_id

    def start(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Begin ``work()`` on the loop. Cancelling the returned future cancels the work.

        Raises:
            ConfigurationError: the calling thread is the thread of the loop, which would wait for itself.
        """
        if self.is_current:
            raise ConfigurationError(
                "a blocking call (generate, stream, batch, close, invoke, complete, ...) was made on relay's own event "
                "loop, where it would wait for itself: await its async form (agenerate, astream, abatch, aclose, "
                "ainvoke, acomplete, ...) instead"
            )
        return asyncio.run_coroutine_threadsafe(work(), self.loop())

    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop."""
        with self._lock:
            if self._loop is None:
                from anyio.from_thread import start_blocking_portal

                manager = start_blocking_portal("asyncio", name="relay")
                self._portal = manager.__enter__()
                self._loop = self._portal.call(asyncio.get_running_loop)
                self._thread_id = self._portal.call(threading.get_ident)
                self._exit = lambda: manager.__exit__(None, None, None)
                atexit.register(self.stop)
            return self._loop

    def stop(self) -> None:
        """Cancel the tasks of the loop, and end the loop."""
        with self._lock:
            portal, stop, self._exit, self._loop = self._portal, self._exit, None, None
            self._thread_id = 0
        if portal is not None and stop is not None:
            with suppress(RuntimeError):
                portal.call(portal.stop, True)  # True cancels running tasks
            stop()


_background = _Background()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_background.forget)


def run(function: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Await ``function(*args)`` on the background loop and return its result; callable from every thread except the
    loop's.

    An exception in the waiting thread, such as KeyboardInterrupt, cancels ``function``.

    Raises:
        ConfigurationError: it was called on the loop's own thread.
    """
    ended = threading.Event()

    async def work() -> T:
        try:
            return await function(*args)
        finally:
            ended.set()

    future = _background.start(work)
    try:
        return future.result()
    except BaseException:
        _cancel(future, ended)
        raise


def iterate(make: Callable[[], AsyncGenerator[T, None]]) -> Iterator[T]:
    """Iterate an async generator from a thread. Closing the iterator cancels the generator.

    Raises:
        ConfigurationError: it was called on the loop's own thread.
    """
    items: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    ended = threading.Event()

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
            ended.set()

    future = _background.start(pump)
    try:
        while True:
            kind, value = items.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        _cancel(future, ended)


def _cancel(future: Future[Any], ended: threading.Event) -> None:
    """Cancel the work of ``future`` if it still runs, and wait until the work sets ``ended``.

    The garbage collector may close an iterator on the thread of the loop. This function does not wait there, since the
    work itself needs that thread to end.
    """
    if future.cancel() and not _background.is_current:
        ended.wait(timeout=5)
