"""Waiting until a point in time."""

import asyncio

import pytest

from relay_core import Chunk, EngineError
from relay_core.decoding.deadline import OutOfTime, deadline_in, earlier, next_chunk, within


async def chunks(*delays: float):
    for delay in delays:
        await asyncio.sleep(delay)
        yield Chunk()


def test_the_earlier_of_two() -> None:
    assert (earlier(None, None), earlier(1.0, None), earlier(None, 2.0), earlier(1.0, 2.0)) == (None, 1.0, 2.0, 1.0)


def test_what_is_done_in_time_and_what_is_not(timeless) -> None:
    async def work() -> None:
        assert await within(asyncio.sleep(1, "done"), deadline_in(2)) == "done"
        assert await within(asyncio.sleep(100, "done"), None) == "done"
        with pytest.raises(OutOfTime):
            await within(asyncio.sleep(3), deadline_in(2))

    timeless(work())


def test_a_timeout_of_the_work_itself_is_not_the_deadline(timeless) -> None:
    async def own() -> None:
        raise TimeoutError("its own")

    async def work() -> None:
        with pytest.raises(TimeoutError, match="its own"):
            await within(own(), deadline_in(2))

    timeless(work())


def test_the_next_chunk(timeless) -> None:
    async def work() -> None:
        stream = chunks(1, 1, 5)
        until = deadline_in(3)
        assert await next_chunk(stream, until) == await next_chunk(stream, None) == Chunk()
        with pytest.raises(OutOfTime):
            await next_chunk(stream, until)
        with pytest.raises(OutOfTime):  # also where the stream would not have to wait
            await next_chunk(chunks(0), until)
        with pytest.raises(EngineError, match="without saying why"):
            await next_chunk(chunks(), None)

    timeless(work())
