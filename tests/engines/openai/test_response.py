"""One streamed response, read into chunks without a network."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest

from relay_core.engines.openai.event_reader import EventReader
from relay_core.engines.openai.faults import Fault
from relay_core.engines.openai.protocol import Mode
from relay_core.engines.openai.response import ChunkStream, SilenceLimit
from relay_core.errors import EngineError


class BufferedResponse:
    """A response whose lines have all arrived; after the last one it is silent."""

    def __init__(self, *lines: bytes) -> None:
        self.lines = list(lines)
        self.is_closed = False

    @property
    def has_line(self) -> bool:
        return bool(self.lines)

    async def line(self) -> bytes | None:
        return self.lines.pop(0) if self.lines else await asyncio.Event().wait()

    async def aclose(self) -> None:
        self.is_closed = True


async def open_stream(response: BufferedResponse, silence_s: float = 10) -> ChunkStream:
    async def request() -> Any:
        return response

    limit = SilenceLimit(silence_s, asyncio.get_running_loop().time() + 10)
    async with AsyncExitStack() as stack:
        return await ChunkStream.open(request(), EventReader(Mode.COMPLETIONS, None, ()), limit, stack)


@pytest.mark.parametrize(
    ("last_line", "message"),
    [
        (b'data: {"choices": [{"text": "", "finish_reason": "content_filter"}]}', "content filter"),
        (b"data: [DONE]", "ended before the answer did"),
        (b"data: {", "malformed JSON"),
    ],
)
async def test_text_that_arrives_before_an_error_is_delivered(last_line: bytes, message: str) -> None:
    response = BufferedResponse(
        b'data: {"choices": [{"text": "a"}]}', b": keep-alive", b'data: {"choices": [{"text": "b"}]}', last_line
    )
    async with aclosing(await open_stream(response)) as stream:
        assert [token.text for token in (await stream.next()).tokens] == ["a", "b"]
        with pytest.raises(EngineError, match=message):
            await stream.next()
        assert not response.is_closed
    assert response.is_closed


async def test_a_response_that_fails_before_its_first_token_is_closed() -> None:
    silent, malformed = BufferedResponse(), BufferedResponse(b"data: {")
    with pytest.raises(Fault, match=r"fell silent: nothing for 0\.01 s"):
        await open_stream(silent, silence_s=0.01)
    with pytest.raises(Fault, match="malformed JSON"):
        await open_stream(malformed)
    assert silent.is_closed and malformed.is_closed
