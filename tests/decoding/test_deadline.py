"""Waiting until a point in time."""

import asyncio

import pytest

from relay_core.decoding.deadline import OutOfTime, deadline_in, earlier, is_past, within


def test_the_earlier_of_two_deadlines() -> None:
    assert (earlier(None, None), earlier(1.0, None), earlier(None, 2.0), earlier(1.0, 2.0)) == (None, 1.0, 2.0, 1.0)


def test_work_within_a_deadline_and_beyond_it(timeless) -> None:
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


def test_a_deadline_passes(timeless) -> None:
    async def work() -> None:
        deadline = deadline_in(2)
        assert deadline is not None and not is_past(deadline)
        await asyncio.sleep(2)
        assert is_past(deadline)
        assert deadline_in(None) is None

    timeless(work())
