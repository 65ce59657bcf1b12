"""Functions that end, fail, overrun, and cannot be stopped."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

from relay_core import time_limit
from relay_core.time_limit import TimeIsUp


def loop_without_end() -> None:
    while True:
        pass


async def test_results_and_exceptions_are_the_functions_own() -> None:
    def fail() -> None:
        raise LookupError("lost")

    def out_of_time() -> None:
        raise TimeoutError("its own")

    assert time_limit.call(lambda: 5, 10) == await time_limit.call_async(lambda: 5, 10) == 5
    for function, error in ((fail, LookupError), (out_of_time, TimeoutError)):
        with pytest.raises(error, match=r"^(lost|its own)$"):
            time_limit.call(function, 10)
        with pytest.raises(error, match=r"^(lost|its own)$"):
            await time_limit.call_async(function, 10)


async def test_a_function_that_overruns_is_ended_and_costs_no_other() -> None:
    before = threading.active_count()
    for _ in range(6):
        with pytest.raises(TimeIsUp):
            time_limit.call(loop_without_end, 0.05)
        with pytest.raises(TimeIsUp):
            await time_limit.call_async(loop_without_end, 0.05)
        await ended()
        assert time_limit.call(lambda: 5, 10) == 5
    assert threading.active_count() <= before + 2


async def test_a_cancelled_call_ends_its_function_in_time() -> None:
    task = asyncio.ensure_future(time_limit.call_async(loop_without_end, 0.1))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.2)
    await ended()


@pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled", "dropped"])
def test_a_function_ends_in_time_although_its_callers_loop_has_ended(is_cancelled: bool) -> None:
    """A deadline cancels the caller, and ``asyncio.run`` returns before the function's own limit."""
    running = threading.Event()

    def endless() -> None:
        running.set()
        loop_without_end()

    async def caller() -> None:
        task = asyncio.ensure_future(time_limit.call_async(endless, 0.3))
        while not running.is_set():
            await asyncio.sleep(0.005)
        if is_cancelled:
            task.cancel()

    asyncio.run(caller())
    helpers = [t for t in threading.enumerate() if isinstance(t, time_limit._Helper) and t._current is not None]
    assert len(helpers) == 1
    helpers[0].join(30)
    assert not helpers[0].is_alive()


async def test_threads_that_cannot_be_ended_are_bounded() -> None:
    go_on = threading.Event()
    try:
        for _ in range(time_limit.MOST_LEFT_BEHIND):
            with pytest.raises(TimeIsUp):
                time_limit.call(lambda: go_on.wait(60), 0.05)
        with pytest.raises(TimeIsUp):
            time_limit.call(lambda: 5, 10)
    finally:
        go_on.set()
    await ended()
    assert time_limit.call(lambda: 5, 10) == 5


async def test_many_calls_at_once() -> None:
    results = await asyncio.gather(*[time_limit.call_async(lambda i=i: i, 30) for i in range(200)])
    assert results == list(range(200))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_has_helpers_of_its_own() -> None:
    assert time_limit.call(lambda: 5, 10) == 5
    child = os.fork()
    if child == 0:
        os._exit(time_limit.call(lambda: 7, 10))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


async def ended() -> None:
    """Wait until no thread is left behind."""
    until = time.monotonic() + 10
    while time_limit._left_behind and time.monotonic() < until:
        await asyncio.sleep(0.01)
    assert not time_limit._left_behind


async def test_a_thread_that_is_abandoned_again_while_it_ends_is_not_counted_for_ever() -> None:
    """Before, the exception of the second time kept it from taking itself out, and after four nothing was begun."""
    for _ in range(30):
        helper, future = time_limit._begin(loop_without_end)
        while helper.is_alive():
            helper.abandon(future)
        await ended()
