"""A warmed stream is held back until the number of tokens is known, and cut there."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest

from relay_core.engines.base import Chunk, EngineUsage, Finish, Token, Warming, Waste
from relay_core.engines.warmed_stream import hold_until_wanted
from relay_core.errors import EngineError

END = Token(99, "")


async def source(sizes: Sequence[int], finish: Finish = Finish.END) -> AsyncGenerator[Chunk, None]:
    """Tokens 0, 1, 2, ... in chunks of these sizes, and the end."""
    number = 0
    for i, size in enumerate(sizes):
        tokens = tuple(Token(number + k, str(number + k)) for k in range(size))
        number += size
        last = i == len(sizes) - 1
        end = END if last and finish is Finish.END else None
        yield Chunk(tokens, finish if last else None, end, EngineUsage(10, 4, number + (end is not None)))


async def read_n(
    chunks: AsyncGenerator[Chunk, None], n: int, read_on: bool = False
) -> tuple[list[int | None], Chunk, Waste]:
    waste = Waste()
    warming = Warming(waste)
    ids: list[int | None] = []
    async with aclosing(hold_until_wanted(chunks, warming, 10, read_on=read_on)) as stream:
        first = asyncio.ensure_future(anext(stream))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not first.done(), "nothing is yielded before the number is known"
        warming.want(n)
        chunk = await first
        ids += [t.id for t in chunk.tokens]
        async for chunk in stream:
            ids += [t.id for t in chunk.tokens]
    return ids, chunk, waste


@pytest.mark.parametrize(
    ("sizes", "n", "wasted"),
    [((1, 1, 1, 1), 2, 0), ((3, 3), 2, 1), ((3, 3), 3, 0), ((3, 3), 4, 3), ((0, 2, 2), 1, 1), ((5,), 5, 1)],
)
async def test_the_stream_is_as_if_n_tokens_had_been_requested(sizes: tuple[int, ...], n: int, wasted: int) -> None:
    ids, last, waste = await read_n(source(sizes), n)
    assert ids == list(range(n))
    assert (last.finish, last.end_token, last.usage) == (Finish.LENGTH, None, EngineUsage(10, 4, n))
    assert (waste.requests, waste.tokens) == (0, wasted)


@pytest.mark.parametrize("n", [2, 3])
async def test_the_usage_behind_the_last_token_is_passed_on(n: int) -> None:
    async def late_usage() -> AsyncGenerator[Chunk, None]:
        yield Chunk((Token(0, "0"), Token(1, "1")), usage=EngineUsage(10, None, 2), ending=Finish.LENGTH)
        yield Chunk((), Finish.LENGTH, usage=EngineUsage(10, 4, 2))

    ids, last, _ = await read_n(late_usage(), n)
    assert (ids, last.finish, last.usage) == ([0, 1], Finish.LENGTH, EngineUsage(10, 4, 2))


@pytest.mark.parametrize("n", [1, 3, 5, 9])
async def test_tokens_that_arrive_meanwhile_are_read_and_counted(n: int) -> None:
    ids, last, waste = await read_n(source((3, 3, 3), Finish.LENGTH), n, read_on=True)
    assert ids == list(range(n))
    assert (last.finish, last.usage) == (Finish.LENGTH, EngineUsage(10, 4, n))
    assert (waste.requests, waste.tokens) == (0, 9 - n)


async def test_a_failure_is_raised_after_the_tokens_before_it() -> None:
    async def breaking() -> AsyncGenerator[Chunk, None]:
        yield Chunk((Token(0, "0"), Token(1, "1")))
        raise EngineError("broken")

    assert (await read_n(breaking(), 2, read_on=True))[0] == [0, 1]
    with pytest.raises(EngineError, match="broken"):
        await read_n(breaking(), 3, read_on=True)
    assert (await read_n(source((2, 1)), 7, read_on=True))[0] == [0, 1, 2]


@pytest.mark.parametrize("finish", [Finish.END, Finish.LENGTH])
async def test_an_end_before_n_is_the_end(finish: Finish) -> None:
    ids, last, waste = await read_n(source((2, 1), finish), 7)
    assert (ids, last.finish) == ([0, 1, 2], finish)
    assert last.end_token == (END if finish is Finish.END else None)
    assert (waste.requests, waste.tokens) == (0, 0)


@pytest.mark.parametrize(("read_on", "arrived_count"), [(False, 3), (True, 6)])
async def test_a_dropped_stream_is_counted_as_waste_and_closed(read_on: bool, arrived_count: int) -> None:
    waste, closed = Waste(), asyncio.Event()

    async def watched() -> AsyncGenerator[Chunk, None]:
        try:
            async for chunk in source((3, 3), Finish.LENGTH):
                yield chunk
            await asyncio.Event().wait()
        finally:
            closed.set()

    stream = hold_until_wanted(watched(), Warming(waste), 10, read_on=read_on)
    first = asyncio.ensure_future(anext(stream))
    for _ in range(5):
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert waste == Waste(1, 10, 4, arrived_count)
    assert closed.is_set()


async def test_a_failure_is_not_waste() -> None:
    async def failing() -> AsyncGenerator[Chunk, None]:
        raise EngineError("broken")
        yield

    waste = Waste()
    with pytest.raises(EngineError, match="broken"):
        await anext(hold_until_wanted(failing(), Warming(waste), 10))
    assert waste == Waste()


def test_waste_adds_up_and_unknown_stays_unknown() -> None:
    waste = Waste()
    waste.add(5, 3, 1)
    waste.add(None, 0, 0)
    assert waste == Waste(2, 5, 3, 1)
    waste.add(5, None, 0)
    waste.add(5, 3, 0)
    assert waste == Waste(4, 15, None, 1)
