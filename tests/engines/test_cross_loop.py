"""An async generator on the background loop, read on the test's own loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from relay_core import portal
from relay_core.engines.cross_loop import run_on
from relay_core.errors import EngineError


async def running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


@pytest.fixture
def other_loop() -> asyncio.AbstractEventLoop:
    return portal.run(running_loop)


async def test_items_and_the_end_cross_over(other_loop: asyncio.AbstractEventLoop) -> None:
    async def thread_names() -> AsyncGenerator[str | None, None]:
        yield threading.current_thread().name
        yield None

    items = [item async for item in run_on(other_loop, thread_names())]
    assert items == ["relay", None]


async def test_an_exception_crosses_over_after_the_items_before_it(other_loop: asyncio.AbstractEventLoop) -> None:
    async def failing() -> AsyncGenerator[int, None]:
        yield 1
        raise LookupError("lost")

    async with aclosing(run_on(other_loop, failing())) as stream:
        assert await anext(stream) == 1
        with pytest.raises(LookupError, match="lost"):
            await anext(stream)


async def test_closing_closes_the_source_on_its_own_loop(other_loop: asyncio.AbstractEventLoop) -> None:
    closed_on: list[str] = []
    closed = threading.Event()

    async def endless() -> AsyncGenerator[int, None]:
        try:
            yield 1
            await asyncio.sleep(3600)
        finally:
            closed_on.append(threading.current_thread().name)
            closed.set()

    stream = run_on(other_loop, endless())
    assert await anext(stream) == 1
    await stream.aclose()
    assert await asyncio.to_thread(closed.wait, 5)
    assert closed_on == ["relay"]


def test_a_source_outlives_the_loop_that_read_it(other_loop: asyncio.AbstractEventLoop) -> None:
    finished = threading.Event()

    async def source() -> AsyncGenerator[int, None]:
        try:
            while True:
                yield 1
                await asyncio.sleep(0.001)
        finally:
            finished.set()

    async def read_one() -> int:
        stream = run_on(other_loop, source())
        item = await anext(stream)
        await stream.aclose()
        return item

    assert asyncio.run(read_one()) == 1
    assert finished.wait(5)


async def test_a_loop_that_stops_ends_its_streams() -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def endless() -> AsyncGenerator[int, None]:
        while True:
            yield 1
            await asyncio.sleep(3600)

    async def cancel_all() -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async with asyncio.timeout(10), aclosing(run_on(loop, endless())) as stream:
        assert await anext(stream) == 1
        asyncio.run_coroutine_threadsafe(cancel_all(), loop)
        with pytest.raises(EngineError, match="was stopped"):
            await anext(stream)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    for _ in range(2):  # stopped, then closed
        with pytest.raises(EngineError, match="has ended"):
            async with aclosing(run_on(loop, endless())) as stream:
                await anext(stream)
        loop.close()
