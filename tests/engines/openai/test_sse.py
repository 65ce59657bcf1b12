"""Bytes of a response cut into events by the standard of server-sent events."""

from __future__ import annotations

import contextlib
import itertools
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay_core.engines.openai import sse
from relay_core.engines.openai.faults import Fault
from relay_core.engines.openai.sse import EventDecoder, ServerSentEvent


def events(*parts: bytes) -> list[ServerSentEvent]:
    decoder = EventDecoder()
    complete = [event for part in parts for event in decoder.feed(part)] + decoder.flush()
    decoder.check()
    return complete


def payloads(*parts: bytes) -> list[object]:
    return ["DONE" if event.is_done else event.payload for event in events(*parts)]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b'data: {"a": 1}\n\ndata: [DONE]\n\n', [{"a": 1}, "DONE"]),
        (b'data:{"a": 1}\n\n', [{"a": 1}]),
        (b'data:  {"a": 1} \n\n', [{"a": 1}]),
        (b'data: {"a":\ndata: 1}\n\n', [{"a": 1}]),
        (b'data: {"a":\ndata:\ndata: {"b": 2}}\n\n', [{"a": {"b": 2}}]),
        (b'data:\n\ndata\n\ndata: \n\ndata: {"a": 1}\n\n', [{"a": 1}]),
        (b'\xef\xbb\xbfdata: {"a": 1}\n\n', [{"a": 1}]),
        (b': hello\n\n:\n\ndata: {"a": 1}\n: more\n\n', [{"a": 1}]),
        (b'id: 7\nretry: 3000\nfoo: bar\nx-y.z\ndata: {"a": 1}\nvendor: {}\n\n', [{"a": 1}]),
        (b'event: message\ndata: {"a": 1}\n\n', [{"a": 1}]),
        (b"event: ping\n\nevent: ping\ndata: \n\n", []),
        (b'data: {"a": 1}\ndata: {"b": 2}\ndata: [DONE]\n', [{"a": 1}, {"b": 2}, "DONE"]),
        (b'data: {"a": 1}', [{"a": 1}]),
        (b'{"a": 1}\n', [{"a": 1}]),
        ('data: {"a": "\u2028 \x85 \x0c"}\n\n'.encode(), [{"a": "\u2028 \x85 \x0c"}]),
        (b"", []),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_the_standard_and_what_servers_make_of_it(stream: bytes, end: bytes, expected: list[object]) -> None:
    stream = stream.replace(b"\n", end)
    assert payloads(stream) == expected
    assert payloads(*[stream[i : i + 1] for i in range(len(stream))]) == expected


LINES = st.sampled_from(
    [b'data: {"a": 1}', b'data: {"b":', b"data: 2}", b"data:", b": c", b"x: y", b"event: e", b"", b""]
)


@given(
    st.lists(LINES, max_size=12), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.lists(st.integers(0, 200), max_size=6)
)
@example([b"data: 1", b"", b"data: 2", b""], b"\r\n", [8])
def test_events_do_not_depend_on_how_the_bytes_are_cut(lines: list[bytes], end: bytes, cuts: list[int]) -> None:
    stream = b"".join(line + end for line in lines)
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    parts = [stream[a:b] for a, b in itertools.pairwise(edges)]
    assert [event.data for event in events(*parts)] == [event.data for event in events(stream)]


def test_an_event_is_given_as_soon_as_it_is_whole() -> None:
    decoder = EventDecoder()
    assert [event.payload for event in decoder.feed(b'data: {"a": 1}\n')] == [{"a": 1}], "no blank line may come"
    assert decoder.feed(b"\n") == []
    assert [event.name for event in decoder.feed(b"event: error\ndata: no JSON\n\n")] == ["error"]
    assert [event.name for event in decoder.feed(b"data: again\n\n")] == [""], "a name is of one event"


@given(st.binary(max_size=200))
def test_any_bytes_are_events_or_a_fault(data: bytes) -> None:
    for prefix in (b"", b"data: ", b'data: {"a": '):
        with contextlib.suppress(Fault):
            events(prefix + data)


@pytest.mark.parametrize(
    "data", [b"<html>bad gateway</html>", b"Internal Server Error", b"[1, 2]", b"\x00\x01", b" data: 1"]
)
def test_what_is_no_event_stream_is_a_fault(data: bytes) -> None:
    with pytest.raises(Fault, match="malformed event stream"):
        events(data + b"\n\n")


@pytest.mark.parametrize("data", [b"{", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000, b"\xff\xfe", b'{"a": 1}}'])
def test_what_is_no_json_has_no_payload(data: bytes) -> None:
    [event] = events(b"data: " + data + b"\n\n")
    assert event.payload is None


def test_events_before_what_is_no_event_stream_are_given() -> None:
    decoder = EventDecoder()
    assert [event.payload for event in decoder.feed(b'data: {"a": 1}\n\n<html>\n\ndata: {"b": 2}\n\n')] == [{"a": 1}]
    assert decoder.feed(b'data: {"c": 3}\n\n') == decoder.flush() == []
    with pytest.raises(Fault, match="malformed event stream"):
        decoder.check()


def test_an_event_without_end_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "_MAX_EVENT_BYTES", 1000)
    for part in (b"x" * 100, b"data: xxxx\n" * 10, b"data:\n" * 100):
        with pytest.raises(Fault, match="more than 1000 bytes"):
            events(*[part] * 1000)
    decoder = EventDecoder()
    for _ in range(1000):
        assert decoder.feed(b": " + b"x" * 100 + b"\n") == [], "comments are not kept"
    for _ in range(100):
        decoder.feed(b"data: " + json.dumps({"a": "x" * 100}).encode() + b"\n\n")
