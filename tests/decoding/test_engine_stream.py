"""One request's stream: cut at its limit, closed and counted however it ends."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from relay_core import Chunk, ContextOverflow, EngineError, Finish, Prompt, Token
from relay_core.decoding.deadline import OutOfTime, deadline_in
from relay_core.decoding.engine_stream import EngineStream, engine_stream
from relay_core.decoding.tally import Tally
from relay_core.engines.base import EngineUsage, Waste
from relay_core.transcript import Transcript

PROMPT = Prompt("", [1, 2, 3])
closed: list[bool] = []


async def source(*items: Chunk | Exception) -> AsyncGenerator[Chunk, None]:
    closed.clear()
    try:
        for item in items:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        closed.append(True)


def tokens(n: int) -> tuple[Token, ...]:
    return tuple(Token(i, "x") for i in range(n))


def reading(limit: int, *items: Chunk | Exception, tally: Tally, transcript: Transcript | None = None):
    return engine_stream(
        source(*items), role="teacher", prompt=PROMPT, limit=limit, deadline=None,
        transcript=Transcript() if transcript is None else transcript, tally=tally,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sizes", "limit", "taken", "finish"),
    [
        ((2, 2), 9, 4, Finish.END), ((2, 2), 4, 4, Finish.END), ((2, 2), 3, 3, Finish.LENGTH),
        ((3, 1), 3, 3, Finish.LENGTH), ((5,), 2, 2, Finish.LENGTH),
    ],
)  # fmt: skip
async def test_the_chunk_that_reaches_the_limit_is_the_last(sizes, limit, taken, finish) -> None:
    last = len(sizes) - 1
    items = [Chunk(tokens(n), Finish.END if i == last else None) for i, n in enumerate(sizes)]
    total = 0
    async with reading(limit, *items, tally=Tally([])) as stream:
        while True:
            chunk = await stream.next()
            total += len(chunk.tokens)
            if chunk.finish is not None:
                break
    assert (total, stream.token_count, chunk.finish, closed) == (taken, taken, finish, [True])


async def test_a_streams_reports_are_counted_once_even_if_it_is_left_early() -> None:
    tally = Tally([])
    first = Chunk(tokens(1), usage=EngineUsage(10, 4, 1), notes={"resumed": 1, "why": "a"}, waste=Waste(1, 10, None, 0))
    second = Chunk(
        tokens(1), usage=EngineUsage(10, 4, 2), notes={"resumed": 2, "why": "b"}, waste=Waste(2, 20, None, 0)
    )
    async with reading(9, first, second, Chunk(tokens(1)), tally=tally) as stream:
        await stream.next()
        await stream.next()
    assert closed == [True]
    assert (tally.reads["teacher"].tokens, tally.reads["teacher"].cached) == (10, 4)
    assert tally.notes == {"teacher_resumed": 2, "teacher_why": "b"}
    assert tally.waste == Waste(2, 20, None, 0)


async def test_a_prompt_beyond_the_context_counts_as_unread() -> None:
    for error, read in ((ContextOverflow("full"), 0), (EngineError("broken"), 3)):
        tally = Tally([])
        with pytest.raises(EngineError):
            async with reading(9, error, tally=tally) as stream:
                await stream.next()
        assert tally.reads["teacher"].tokens == read
        assert closed == [True]


async def test_text_counts_as_the_tokens_that_the_engine_reports() -> None:
    transcript = Transcript()
    chunk = Chunk((Token(None, "abcd"),), Finish.END, usage=EngineUsage(None, None, 7))
    async with reading(9, chunk, tally=Tally([]), transcript=transcript) as stream:
        for token in (await stream.next()).tokens:
            transcript.add_teacher(token.id, token.text)
    assert transcript.total == 7


@pytest.mark.parametrize("count", [0, 1, -3, 10**400, True, 2.5, "7", None])
async def test_the_budget_holds_against_any_engine(count) -> None:
    transcript = Transcript()
    usage = EngineUsage(5, 9, count)
    chunks = [Chunk((Token(None, "word "), Token(None, "x" * 300)), usage=usage) for _ in range(50)]
    tally = Tally([])
    async with reading(10, *chunks, tally=tally, transcript=transcript) as stream:
        chunk = Chunk()
        while chunk.finish is None:
            chunk = await stream.next()
            for token in chunk.tokens:
                transcript.add_teacher(token.id, token.text)
    assert chunk.finish is Finish.LENGTH
    assert (stream.token_count, transcript.total) == (10, 10), "a text of 300 characters has at least two tokens"
    assert (tally.reads["teacher"].tokens, tally.reads["teacher"].cached) == (5, None), "no more is cached than read"


async def test_one_long_text_is_cut_to_what_the_limit_can_hold() -> None:
    async with reading(3, Chunk((Token(None, "x" * 10_000),), Finish.END), tally=Tally([])) as stream:
        chunk = await stream.next()
    assert (len(chunk.tokens[0].text), chunk.finish) == (3 * 256, Finish.LENGTH)


async def test_the_usage_behind_the_last_token_is_read() -> None:
    for limit, reads in ((9, 1), (2, 1), (2, 2)):
        tally = Tally([])
        items = [Chunk(tokens(2), ending=Finish.LENGTH), Chunk((), Finish.LENGTH, usage=EngineUsage(10, 4, 2))]
        async with reading(limit, *items, tally=tally) as stream:
            chunks = [await stream.next() for _ in range(reads)]
        assert [chunk.finish for chunk in chunks] == [None, Finish.LENGTH][:reads]
        assert (tally.reads["teacher"].tokens, tally.reads["teacher"].cached) == (10, 4)


async def test_an_engine_that_never_stops_saying_that_it_ends_is_stopped() -> None:
    async with reading(4, *[Chunk(tokens(2), ending=Finish.END)] * 9, tally=Tally([])) as stream:
        finishes = [(await stream.next()).finish for _ in range(3)]
    assert finishes == [None, None, Finish.LENGTH]
    assert stream.token_count == 4


def test_where_only_the_usage_is_missing_by_the_deadline_the_stream_has_ended(timeless) -> None:
    async def late() -> AsyncGenerator[Chunk, None]:
        yield Chunk(tokens(1), ending=Finish.END)
        await asyncio.sleep(9)
        yield Chunk((), Finish.END)

    async def work() -> None:
        stream = EngineStream(late(), 9, deadline_in(3))
        assert [(await stream.next()).finish for _ in range(2)] == [None, Finish.END]

    timeless(work())


def test_chunks_must_come_by_the_deadline(timeless) -> None:
    async def slowly(*delays: float) -> AsyncGenerator[Chunk, None]:
        for delay in delays:
            await asyncio.sleep(delay)
            yield Chunk()

    async def work() -> None:
        stream = EngineStream(slowly(1, 1, 5), 9, deadline_in(3))
        assert await stream.next() == await stream.next() == Chunk()
        with pytest.raises(OutOfTime):
            await stream.next()
        with pytest.raises(OutOfTime):  # also where the stream would not have to wait
            await EngineStream(slowly(0), 9, deadline_in(0)).next()
        with pytest.raises(EngineError, match="without saying why"):
            await EngineStream(slowly(), 9, None).next()

    timeless(work())
