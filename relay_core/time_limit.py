"""Run a function that may never end, such as a model's chat template, with a time limit.

The function runs on a helper thread. When its time is up, an exception is raised in that thread, which interrupts
Python code. A thread inside C code is not interrupted: it is left behind and counted.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
MOST_LEFT_BEHIND = 4  # threads left behind; from this number on, no further function is begun


class TimeIsUp(Exception):
    """The function did not end in time."""


class _Helper(threading.Thread):
    """A thread that runs one function after another."""

    def __init__(self) -> None:
        super().__init__(name="relay-time-limit", daemon=True)
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._current: Future[Any] | None = None  # of the running function, unless it is abandoned
        self.start()

    def begin(self, function: Callable[[], T]) -> Future[T]:
        """Run ``function``; the returned future receives its result."""
        future: Future[T] = Future()
        self._current = future
        self._work.put((function, future))
        return future

    def abandon(self, future: Future[Any]) -> None:
        """Raise an exception in the thread, once, to end it if it still runs the function of ``future``."""
        with _lock:
            if self._current is future:
                self._current = None  # so that a second call does nothing, also after the thread has ended
                _left_behind.add(self)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.ident or 0), ctypes.py_object(TimeIsUp))

    def run(self) -> None:
        try:
            try:
                self._run_functions()
            finally:
                _left_behind.discard(self)
        except TimeIsUp:  # raised after the function had already ended
            pass
        finally:  # it may also be raised within the `finally` above, but only once
            _left_behind.discard(self)

    def _run_functions(self) -> None:
        """Run one function after another, until one is abandoned."""
        while True:
            function, future = self._work.get()
            result, error = None, None
            try:
                result = function()
            except BaseException as raised:
                error = raised
            with _lock:
                if self._current is not future:
                    return
                self._current = None
                _idle.append(self)
            future.set_result(result) if error is None else future.set_exception(error)
            del function, future, result, error


_idle: list[_Helper] = []
_left_behind: set[_Helper] = set()
_lock = threading.Lock()


def _forget() -> None:
    """Reset the state in a forked child, which has none of its parent's threads."""
    global _lock
    _lock = threading.Lock()
    _idle.clear()
    _left_behind.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _begin(function: Callable[[], T]) -> tuple[_Helper, Future[T]]:
    with _lock:
        if len(_left_behind) >= MOST_LEFT_BEHIND:
            raise TimeIsUp
        helper = _idle.pop() if _idle else None
    helper = helper or _Helper()
    return helper, helper.begin(function)


def call(function: Callable[[], T], limit_s: float) -> T:
    """Run ``function()``, block until it ends, and return its result.

    Raises:
        TimeIsUp: the function did not end within ``limit_s`` seconds.
    """
    helper, future = _begin(function)
    try:
        return future.result(limit_s)
    except TimeoutError:
        if future.done():  # the function itself raised this exception
            raise
        helper.abandon(future)
        raise TimeIsUp from None


async def call_async(function: Callable[[], T], limit_s: float) -> T:
    """:func:`call` without blocking the event loop. If the caller is cancelled, the function still has its time."""
    helper, future = _begin(function)
    ends = time.monotonic() + limit_s
    try:
        done, _ = await asyncio.wait([asyncio.wrap_future(future)], timeout=limit_s)
    except BaseException:  # cancelled, or its loop has ended: nobody but a thread can end the function at its limit
        watch = threading.Timer(max(0.0, ends - time.monotonic()), helper.abandon, [future])
        watch.daemon = True
        watch.start()
        raise
    if done:
        return done.pop().result()
    helper.abandon(future)
    raise TimeIsUp
