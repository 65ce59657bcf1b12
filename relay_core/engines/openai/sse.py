"""Server-sent events: decodes the bytes of a response into events.

The decoder follows the standard (https://html.spec.whatwg.org/multipage/server-sent-events.html): lines end with LF, CR
LF or CR, a byte-order mark at the beginning is skipped, several data lines of an event are joined by newlines, and
comments, unknown fields and events without data are skipped. It also accepts three deviations of real servers: events
without a blank line between them, a last event without a blank line after it, and a line of JSON without ``data:``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from relay_core.engines.openai.faults import Fault

_MAX_EVENT_BYTES = 64 * 2**20
_BOM = b"\xef\xbb\xbf"
_FIELD_NAME = re.compile(rb"[A-Za-z][\w.-]{0,63}")


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event.

    ``data``: its data lines, joined by newlines and stripped. ``name``: its type; empty if it has none. ``payload``:
    ``data`` read as JSON; ``None`` if it is not JSON.
    """

    data: bytes
    name: str = ""
    payload: Any = None

    @property
    def is_done(self) -> bool:
        """Whether this is ``[DONE]``, which ends the stream."""
        return self.data == b"[DONE]"


class EventDecoder:
    """Splits the bytes of one response into events."""

    def __init__(self) -> None:
        self._is_first_line = True
        self._after_return = False  # whether the latest byte was CR, after which LF may follow
        self._line: list[bytes] = []  # the parts of an incomplete line
        self._line_size = 0
        self._data: list[bytes] = []  # the data lines of an incomplete event
        self._data_size = 0
        self._may_be_whole = False  # whether its only data line may be a whole event, which has not been tried
        self._name = ""
        self._fault: Fault | None = None

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """The events that these bytes complete; :meth:`check` raises if the bytes are not an event stream."""
        if self._after_return and data:
            data, self._after_return = data.removeprefix(b"\n"), False
        if b"\r" in data:
            self._after_return = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = data.split(b"\n")
        events: list[ServerSentEvent] = []
        for line in lines:
            self._read_line(self._with_begun(line), events)
        if rest:
            self._line.append(rest)
            self._line_size += len(rest)
        if self._line_size + self._data_size > _MAX_EVENT_BYTES:
            self._stop(f"an event of more than {_MAX_EVENT_BYTES} bytes in the event stream")
        self._dispatch_whole(events)
        return events

    def flush(self) -> list[ServerSentEvent]:
        """The last event, if no blank line ended it."""
        events: list[ServerSentEvent] = []
        if self._line:
            self._read_line(self._with_begun(b""), events)
        self._dispatch(events)
        return events

    def check(self) -> None:
        """Raise the error in the bytes so far, if there is one; the events before the error have been returned.

        Raises:
            Fault: the bytes are not an event stream, or an event is too long.
        """
        if self._fault is not None:
            raise self._fault

    def _stop(self, reason: str) -> None:
        self._fault = self._fault or Fault(reason)
        self._data.clear()

    def _with_begun(self, line: bytes) -> bytes:
        """``line``, joined to the earlier parts of the same line."""
        if self._line:
            line = b"".join([*self._line, line])
            self._line.clear()
            self._line_size = 0
        if self._is_first_line:
            line, self._is_first_line = line.removeprefix(_BOM), False
        return line

    def _read_line(self, line: bytes, events: list[ServerSentEvent]) -> None:
        if not line:
            self._dispatch(events)
            return
        if line.startswith(b":") or self._fault is not None:
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._add_data(value.removeprefix(b" "), events)
        elif name == b"event":
            self._name = value.strip().decode("utf-8", "replace")
        elif line.startswith(b"{"):
            self._add_data(line, events)
        elif not _FIELD_NAME.fullmatch(name):
            self._stop(f"malformed event stream: {line[:80]!r}")

    def _add_data(self, value: bytes, events: list[ServerSentEvent]) -> None:
        self._dispatch_whole(events)
        self._may_be_whole = not self._data
        self._data.append(value)
        self._data_size += len(value) + 1

    def _dispatch_whole(self, events: list[ServerSentEvent]) -> None:
        """End a one-line event without waiting for a blank line, if it is ``[DONE]`` or a complete JSON object."""
        if self._may_be_whole:
            self._may_be_whole = False
            event = self._event()
            if event.is_done or isinstance(event.payload, dict):
                self._end_event(event, events)

    def _dispatch(self, events: list[ServerSentEvent]) -> None:
        """End the event; an event without data is dropped."""
        self._end_event(self._event(), events)

    def _event(self) -> ServerSentEvent:
        data = b"\n".join(self._data).strip()
        return ServerSentEvent(data, self._name, _json(data))

    def _end_event(self, event: ServerSentEvent, events: list[ServerSentEvent]) -> None:
        if event.data:
            events.append(event)
        self._data.clear()
        self._name, self._data_size, self._may_be_whole = "", 0, False


def _json(data: bytes) -> Any:
    """``data`` as JSON; ``None`` if it is not JSON that can be read."""
    if not data or data == b"[DONE]":
        return None
    try:
        return json.loads(data, strict=False)  # control characters in strings do no harm
    except (ValueError, RecursionError):
        return None
