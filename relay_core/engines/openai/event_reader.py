"""The events of a streamed response, read into chunks.

Everything that a server sends against the protocol becomes a :class:`~relay_core.engines.openai.faults.Fault` here, so
that the modules behind this one see no malformed data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from relay_core.engines.base import Chunk, EngineUsage, Finish, Token
from relay_core.engines.openai.faults import Fault
from relay_core.engines.openai.protocol import Mode
from relay_core.errors import EngineError
from relay_core.tools import TOOL_CALL_CLOSE, TOOL_CALL_OPEN
from relay_core.unicode import repair_surrogates

if TYPE_CHECKING:
    from relay_core.tokenizer import Tokenizer

_VOCABULARY_PADDING = 512  # models pad the tokenizer's vocabulary to a round size, at most a multiple of this


def event_data(line: bytes) -> Mapping[str, Any] | None:
    """The payload of one line of an event stream; ``{}`` for ``[DONE]``, ``None`` for a line without data.

    Raises:
        Fault: the line does not belong to an event stream, its data are not a JSON object, or they report an error.
    """
    if not line or line.startswith(b":"):
        return None
    name, colon, value = line.partition(b":")
    if not colon or name not in (b"data", b"event", b"id", b"retry"):
        raise Fault(f"malformed event stream: {line[:80]!r}")
    if name != b"data":
        return None
    value = value.strip()
    if value == b"[DONE]":
        return {}
    try:
        payload = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise Fault(f"malformed JSON in the event stream: {value[:80]!r}") from error
    if not isinstance(payload, dict):
        raise Fault(f"malformed event: {value[:80]!r}")
    if payload.get("error"):
        report = payload["error"]
        message = report.get("message", report) if isinstance(report, dict) else report
        raise Fault(f"the endpoint reported an error in its stream: {str(message)[:300]}")
    return payload


class EventReader:
    """Reads the payloads of one response into chunks.

    Args:
        mode: the mode of the request.
        tokenizer: the endpoint's tokenizer, needed in mode ``ids``.
        context: the last ids before the response, so that a character split between tokens is decoded.
    """

    def __init__(self, mode: Mode, tokenizer: Tokenizer | None, context: Sequence[int]) -> None:
        self._tools = _ToolCallText()
        self._ids: _IdReader | None = None
        if mode is Mode.IDS:
            assert tokenizer is not None
            self._ids = _IdReader(tokenizer, context)

    def read(self, payload: Mapping[str, Any]) -> Chunk:
        """One payload as a chunk.

        Raises:
            Fault: the payload breaks the protocol.
            EngineError: the endpoint's content filter ended the answer.
        """
        usage = _usage(payload.get("usage"))
        choices = payload.get("choices")
        if not choices:
            return Chunk(usage=usage)
        if not isinstance(choices, list) or not isinstance(choices[0], dict):
            raise Fault(f"malformed choices in the event stream: {str(choices)[:80]}")
        choice = choices[0]
        finish = _finish(choice)
        if self._ids is not None:
            tokens = self._ids.read(choice)
            stop_reason = choice.get("stop_reason")  # None for the end token, the id of another token that ends
            has_end_token = finish is Finish.END and (stop_reason is None or isinstance(stop_reason, int))
            end_token = tokens.pop() if has_end_token and tokens else None
            return Chunk(tuple(tokens), finish, end_token, usage)
        text = _text(choice) + self._tools.read(choice, ends=finish is Finish.END)
        return Chunk((Token(None, text),) if text else (), finish, None, usage)


class _IdReader:
    """Token ids and their text, checked against the text that the server sends with them."""

    def __init__(self, tokenizer: Tokenizer, context: Sequence[int]) -> None:
        self._decoder = tokenizer.decoder(context)
        self._vocabulary_size = -(-len(tokenizer.hf) // _VOCABULARY_PADDING) * _VOCABULARY_PADDING
        self._uncompared_decoded = self._uncompared_sent = ""

    def read(self, choice: Mapping[str, Any]) -> list[Token]:
        """The tokens of one choice.

        Raises:
            Fault: the ids are not in the vocabulary, or their text is not the server's.
        """
        ids = choice.get("token_ids")
        text = _text(choice)
        if ids is None and not text:
            return []
        if not isinstance(ids, list) or any(type(i) is not int or not 0 <= i < self._vocabulary_size for i in ids):
            raise Fault(f"wrong token ids in the event stream: {str(ids)[:80]}")
        logprobs = _logprobs(choice, len(ids))
        tokens = [Token(i, self._decoder.step(i), p) for i, p in zip(ids, logprobs, strict=True)]
        self._compare("".join(token.text for token in tokens), text)
        return tokens

    def _compare(self, decoded: str, sent: str) -> None:
        """Compare the ids' text with the server's, as far as both have come; the server may hold text back.

        Decoders differ in where they write U+FFFD, so text with U+FFFD is not compared.
        """
        decoded, sent = self._uncompared_decoded + decoded, self._uncompared_sent + sent
        common = min(len(decoded), len(sent))
        if decoded[:common] != sent[:common] and "\ufffd" not in decoded + sent:
            raise Fault(
                f"wrong token ids in the event stream: they say {decoded[:common][-40:]!r}, "
                f"the text says {sent[:common][-40:]!r}"
            )
        self._uncompared_decoded, self._uncompared_sent = decoded[common:], sent[common:]


class _ToolCallText:
    """Turns tool calls that the server parsed out of the text back into ``<tool_call>`` text."""

    def __init__(self) -> None:
        self._open_index: int | None = None  # the server's index of the tool call that is open

    def read(self, choice: Mapping[str, Any], *, ends: bool) -> str:
        """The text of one choice's tool calls; ``ends`` closes the open one.

        Raises:
            Fault: the tool calls break the protocol.
        """
        delta = choice.get("delta")
        tool_calls = (delta.get("tool_calls") if isinstance(delta, dict) else None) or []
        text = ""
        try:
            for tool_call in tool_calls:
                function = tool_call.get("function") or {}
                index = tool_call.get("index", 0)
                if index != self._open_index:
                    separator = f"{self._close()}\n" if self._open_index is not None else ""
                    name = json.dumps(str(function["name"]))
                    text += f'{separator}{TOOL_CALL_OPEN}\n{{"name": {name}, "arguments": '
                    self._open_index = index
                text += function.get("arguments") or ""
        except (AttributeError, KeyError, TypeError) as error:
            raise Fault(f"malformed tool calls in the event stream: {str(tool_calls)[:80]}") from error
        return repair_surrogates(text + (self._close() if ends else ""))

    def _close(self) -> str:
        """The end of the open tool call; empty if none is open."""
        was_open, self._open_index = self._open_index is not None, None
        return f"}}\n{TOOL_CALL_CLOSE}" if was_open else ""


def _finish(choice: Mapping[str, Any]) -> Finish | None:
    reason = choice.get("finish_reason")
    if reason is None:
        return None
    if reason == "length":
        return Finish.LENGTH
    if reason == "stop" and isinstance(choice.get("stop_reason"), str):
        return Finish.STOP
    if reason in ("stop", "tool_calls", "function_call", "eos_token", "stop_sequence"):
        return Finish.END
    if reason == "content_filter":
        raise EngineError("the endpoint's content filter cut the answer off")
    raise Fault(f"the endpoint ended with {str(reason)[:80]!r}")


def _text(choice: Mapping[str, Any]) -> str:
    is_chat = "delta" in choice
    source = choice["delta"] if is_chat else choice
    text = source.get("content" if is_chat else "text") if isinstance(source, dict) else None
    if text is None:
        return ""
    if not isinstance(text, str):
        raise Fault(f"malformed text in the event stream: {str(text)[:80]!r}")
    return repair_surrogates(text)


def _logprobs(choice: Mapping[str, Any], n: int) -> list[float | None]:
    logprobs = choice.get("logprobs")
    values = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
    if not isinstance(values, list) or len(values) != n:
        return [None] * n
    return [float(value) if isinstance(value, (int, float)) else None for value in values]


def _usage(report: Any) -> EngineUsage | None:
    if not isinstance(report, dict):
        return None
    details = report.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return EngineUsage(_count(report.get("prompt_tokens")), _count(cached), _count(report.get("completion_tokens")))


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
