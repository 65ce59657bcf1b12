"""One streamed response, read into chunks without a network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from types import SimpleNamespace
from typing import Any

import pytest

from relay_core.engines.base import EngineUsage, Finish
from relay_core.engines.openai.address import Address, secret_key
from relay_core.engines.openai.event_reader import EventReader
from relay_core.engines.openai.faults import Fault, NoAnswer, RequestRefused
from relay_core.engines.openai.protocol import Mode
from relay_core.engines.openai.response import ChunkStream, Response, SilenceLimit
from relay_core.errors import ContextOverflow, EngineError

ADDRESS = Address(model="m", base_url="http://localhost:1/v1", api_key=secret_key("sk-very-secret", None), role=None)
DONE = b"data: [DONE]\n\n"


def text(value: str, reason: str | None = None, **more: Any) -> bytes:
    """An event with text."""
    return b"data: " + json.dumps({"choices": [{"text": value, "finish_reason": reason}], **more}).encode() + b"\n\n"


def delta(reason: str | None = None, usage: Any = None, **fields: Any) -> bytes:
    """An event of a chat."""
    payload = {"choices": [{"delta": fields, "finish_reason": reason}], "usage": usage}
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


class HttpResponse:
    """The HTTP client's response: these bytes, then its end, an error, or silence."""

    def __init__(self, *data: bytes, then: Exception | str = "end") -> None:
        self.data, self.then, self.is_closed = data, then, False
        self.http_response = SimpleNamespace(aiter_bytes=self.aiter_bytes)

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        for data in self.data:
            yield data
        if isinstance(self.then, Exception):
            raise self.then
        if self.then == "silence":
            await asyncio.Event().wait()

    async def close(self) -> None:
        self.is_closed = True


async def open_stream(http: HttpResponse, silence_s: float = 10, **reader: Any) -> ChunkStream:
    async def request() -> Any:
        return Response(http, ADDRESS)

    limit = SilenceLimit(silence_s, asyncio.get_running_loop().time() + 30)
    async with AsyncExitStack() as stack:
        return await ChunkStream.open(request(), EventReader(Mode.CHAT, None, (), **reader), limit, stack)


async def read(*data: bytes, then: Exception | str = "end", silence_s: float = 10, **reader: Any) -> tuple[str, Any]:
    """The text of a whole response, and its last chunk or its error."""
    written = ""
    try:
        async with aclosing(await open_stream(HttpResponse(*data, then=then), silence_s, **reader)) as stream:
            while True:
                chunk = await stream.next()
                written += "".join(token.text for token in chunk.tokens)
                if chunk.finish is not None:
                    return written, chunk
    except EngineError as error:
        return written, error


@pytest.mark.parametrize(
    ("last_event", "message"),
    [
        (delta("content_filter"), "content filter"),
        (b"", "ended before the answer did"),
        (b"data: {\n\n", "malformed event"),
    ],
)
async def test_text_that_arrives_before_an_error_is_delivered(last_event: bytes, message: str) -> None:
    http = HttpResponse(text("a") + b": keep-alive\n\n" + text("b") + last_event)
    async with aclosing(await open_stream(http)) as stream:
        assert [token.text for token in (await stream.next()).tokens] == ["a", "b"]
        with pytest.raises(EngineError, match=message):
            await stream.next()
        assert not http.is_closed
    assert http.is_closed


async def test_text_before_malformed_bytes_that_came_with_it_is_delivered() -> None:
    written, error = await read(text("a") + b"<html>bad gateway</html>\n\n" + text("b"))
    assert (written, type(error)) == ("a", Fault)


async def test_a_response_that_fails_before_its_first_token_is_closed() -> None:
    silent, malformed = HttpResponse(then="silence"), HttpResponse(b"data: {\n\n")
    with pytest.raises(Fault, match=r"fell silent: nothing for 0\.01 s"):
        await open_stream(silent, silence_s=0.01)
    with pytest.raises(Fault, match="malformed event"):
        await open_stream(malformed)
    assert silent.is_closed and malformed.is_closed


@pytest.mark.parametrize("at_once", [True, False])
async def test_the_usage_of_an_answer_that_is_cut_is_known_however_the_events_arrive(at_once: bool) -> None:
    """It may have come in one packet with the token behind which the caller cuts."""
    usage = {"prompt_tokens": 102, "completion_tokens": 2, "total_tokens": 104}
    data = [text("ab"), text("", "length"), b'data: {"choices": [], "usage": ' + json.dumps(usage).encode() + b"}\n\n"]
    http = HttpResponse(*([b"".join([*data, DONE])] if at_once else [*data, DONE]))
    async with aclosing(await open_stream(http)) as stream:
        await stream.next()
        reported = await stream.trailing_usage()
    assert reported is not None
    assert reported.prompt_tokens == 102


# -- endings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "finish", "note"),
    [
        ([text("ab"), DONE], Finish.END, None),
        ([text("ab"), text("", ""), DONE], Finish.END, None),
        ([text("ab"), text("", "null"), DONE], Finish.END, None),
        ([text("ab"), text("", "eos")], Finish.END, "'eos'"),
        ([text("ab"), text("", "eos"), DONE], Finish.END, "'eos'"),
        ([text("ab"), text("", "max_output")], Finish.END, "'max_output'"),
        ([text("ab", "STOP")], Finish.END, "'STOP'"),
        ([text("a", "stop"), text("b", "stop"), text("", "length"), DONE], Finish.LENGTH, None),
        ([text("a", "length"), text("b", "length"), text("", "stop")], Finish.END, None),
        ([text("a", "length"), text("b", None), DONE], Finish.LENGTH, None),
        ([text("ab"), text("", "length")], Finish.LENGTH, None),
        ([text("ab"), text("", "max_tokens")], Finish.LENGTH, "'max_tokens'"),
        ([text("ab"), text("", "MAX_TOKENS")], Finish.LENGTH, "'MAX_TOKENS'"),
        ([text("ab"), text("", "stop"), b"data: {broken\n\n"], Finish.END, None),
        ([text("ab"), text("", "stop"), b'data: {"error": {"code": 400}}\n\n'], Finish.END, None),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_how_an_answer_ends(data: list[bytes], finish: Finish, note: str | None, at_once: bool) -> None:
    written, last = await read(*([b"".join(data)] if at_once else data))
    assert (written, last.finish) == ("ab", finish)
    assert (note or "") in last.notes.get("finish_reason", "")
    assert bool(note) == bool(last.notes)


@pytest.mark.parametrize("then", ["end", ConnectionResetError("reset")])
async def test_a_stream_without_a_reason_and_done_is_broken(then: Any) -> None:
    for data in (
        [text("a")],
        [text("a"), text("b", "")],
        [text("a"), text("", "abort")],
        [text("a"), text("", "error")],
    ):
        written, error = await read(*data, then=then)
        assert written.startswith("a")
        assert isinstance(error, Fault)


async def test_a_reason_in_every_event_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay_core.engines.openai.response._USAGE_WAIT_S", 0.01)
    written, error = await read(text("a", "stop"), text("b", "stop"), then="silence", silence_s=0.1)
    assert written == "ab"
    assert isinstance(error, Fault) and "silent" in error.message


async def test_tokens_do_not_wait_for_the_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay_core.engines.openai.response._USAGE_WAIT_S", 0.05)
    async with aclosing(await open_stream(HttpResponse(text("ab", "length"), then="silence"))) as stream:
        first = await asyncio.wait_for(stream.next(), 0.04)
        assert ([t.text for t in first.tokens], first.finish, first.ending) == (["ab"], None, Finish.LENGTH)
        assert (await stream.next()).finish is Finish.LENGTH


async def test_the_usage_behind_the_last_token_is_kept() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 8}}
    event = b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"
    for data in ([text("ab", "stop") + event + DONE], [text("ab"), text("", "stop"), event, DONE]):
        assert (await read(*data))[1].usage == EngineUsage(9, 8, 4)


# -- no answer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
@pytest.mark.parametrize("reason", ["length", "stop"])
@pytest.mark.parametrize("continues", [True, False])
async def test_an_answer_of_reasoning_alone_is_an_error_that_says_so(field: str, reason: str, continues: bool) -> None:
    data = [delta(**{field: "hm"}) for _ in range(50)]
    _, error = await read(
        *data, delta(reason, usage={"prompt_tokens": 7, "completion_tokens": 60}), continues=continues
    )
    assert isinstance(error, NoAnswer)
    assert "only reasoned (60 tokens)" in error.message and repr(reason) in error.message
    assert (error.usage, error.written_tokens) == (EngineUsage(7, None, 60), 60)


async def test_reasoning_is_not_silence() -> None:
    class Slow(HttpResponse):
        async def aiter_bytes(self) -> AsyncIterator[bytes]:
            for data in self.data:
                await asyncio.sleep(0.04)
                yield data

    http = Slow(*[delta(reasoning_content="hm")] * 5, delta(content="a"), delta("stop"))
    async with aclosing(await open_stream(http, silence_s=0.1)) as stream:
        assert (await stream.next()).tokens[0].text == "a"
        assert (await stream.next()).notes == {"reasoning_tokens": 5}


@pytest.mark.parametrize(
    ("data", "continues", "message"),
    [
        ([text("", "stop")], False, "without a word"),
        ([text("", "length")], True, "without a word"),
        ([text("", "tool_calls")], True, "without a word"),
        ([delta("stop", usage={"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 8}})], True,
         r"only reasoned \(9 tokens\)"),
        ([DONE], True, "ended before the answer did"),
        ([text("", "eos"), DONE], True, "ended with 'eos'"),
        ([text("", "content_filter"), DONE], True, "content filter"),
        ([b'data: {"a": 1}\n\n', DONE], True, "ended before the answer did"),
    ],
)  # fmt: skip
async def test_an_empty_answer_is_no_success(data: list[bytes], continues: bool, message: str) -> None:
    written, error = await read(*data, continues=continues)
    assert written == ""
    with pytest.raises(EngineError, match=message):
        raise error


async def test_a_text_that_is_continued_may_end_at_once() -> None:
    assert (await read(text("", "stop"), continues=True))[1].finish is Finish.END
    assert (await read(DONE, resumes=True))[1].finish is Finish.END


# -- errors in the stream ------------------------------------------------------------------------------------------


def error_event(payload: Any, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {payload if isinstance(payload, str) else json.dumps(payload)}\n\n".encode()


SHAPES = [
    lambda code: error_event({"error": {"message": "sorry", "code": code}}),
    lambda code: error_event({"error": {"message": "sorry", "code": str(code)}}),
    lambda code: error_event({"error": {"message": "sorry", "type": "x", "status": code}}),
    lambda code: error_event({"error": "sorry", "code": code}),
    lambda code: error_event({"error": "sorry", "status_code": float(code)}),
    lambda code: error_event({"object": "error", "message": "sorry", "type": "BadRequestError", "code": code}),
    lambda code: error_event({"detail": "sorry", "status": code}),
    lambda code: error_event({"detail": {"message": "sorry", "code": code}}),
    lambda code: error_event({"detail": [{"msg": "sorry"}], "code": code}),
    lambda code: error_event({"message": "sorry", "code": code}),
    lambda code: error_event({"message": "sorry", "code": code}, "error"),
    lambda code: error_event({"type": "error", "error": {"message": "sorry", "code": code}}),
    lambda code: error_event({"errors": [{"message": "sorry", "code": code}]}),
    lambda code: error_event({"choices": [{"error": {"message": "sorry", "code": code}, "finish_reason": "error"}]}),
    lambda code: json.dumps({"error": {"message": "sorry", "code": code}}).encode(),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("after_text", [True, False])
async def test_the_code_of_an_error_in_the_stream_decides_as_a_status(shape: Any, after_text: bool) -> None:
    kinds = {400: RequestRefused, 401: RequestRefused, 404: RequestRefused, 429: Fault, 500: Fault, 529: Fault}
    for code, kind in kinds.items():
        written, error = await read(*[text("a")] * after_text, shape(code))
        assert written == "a" * after_text
        assert isinstance(error, kind) and error.status == code, (code, error)
        assert "sorry" in error.message


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (error_event({"error": {"type": "overloaded_error", "message": "m"}, "type": "error"}), Fault),
        (error_event({"error": {"type": "invalid_request_error", "message": "m"}}), RequestRefused),
        (error_event({"error": {"code": "rate_limit_exceeded", "message": "m"}}), Fault),
        (error_event({"error": {"code": "invalid_api_key", "message": "m"}}), RequestRefused),
        (error_event({"error": {"status": "INVALID_ARGUMENT", "code": 400, "message": "m"}}), RequestRefused),
        (error_event({"error": {"message": "m", "code": None}}), Fault),
        (error_event({"error": {"message": "m", "code": True}}), Fault),
        (error_event({"error": {"message": "m", "code": 50001}}), Fault),
        (error_event("out of memory", "error"), Fault),
        (error_event({"reason": "m"}, "error"), Fault),
        (error_event({"error": {"code": 400, "message": "maximum context length is 512 tokens"}}), ContextOverflow),
    ],
)
async def test_codes_that_are_words_and_errors_without_a_code(event: bytes, kind: type[Exception]) -> None:
    assert isinstance((await read(event))[1], kind)


async def test_no_key_is_in_an_error_of_the_stream() -> None:
    for event in (
        error_event({"error": "wrong key sk-very-secret"}),
        error_event({"message": "sk-very-secret", "code": 400}),
    ):
        assert "sk-very-secret" not in str((await read(event))[1])


async def test_fields_without_an_error_are_none() -> None:
    ok = b'data: {"error": null, "detail": null, "message": "", "choices": [{"text": "a", "error": null}]}\n\n'
    assert (await read(ok, DONE))[0] == "a"
