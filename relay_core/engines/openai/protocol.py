"""The OpenAI protocol as bytes on the wire: what is sent in each mode, and how a streamed event is read.

Pure functions and one small reader; nothing here opens a connection. Whatever a server sends that is not what
was agreed becomes a :class:`~relay_core.engines.openai.retries.Fault` here, so that nothing malformed goes further in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from relay_core.engines.base import Chunk, EngineUsage, Finish, Prompt, Sampling, Token
from relay_core.engines.openai.retries import Fault
from relay_core.errors import EngineError
from relay_core.tools import CLOSE, OPEN

if TYPE_CHECKING:
    from relay_core.tokenizer import Tokenizer

GO_ON = (
    "Continue your last message exactly where it stops. Write only what comes next: repeat nothing, "
    "explain nothing, add no greeting."
)
_PADDED_TO = 512
APPROXIMATE = "the endpoint cannot continue a message; it was asked in words to go on, and may begin anew"


class Mode(StrEnum):
    """How an endpoint is made to continue a prompt, best first."""

    IDS = "ids"  # completions, token ids in and out
    COMPLETIONS = "completions"  # completions, text in and out
    CHAT_CONTINUE = "chat-continue"  # chat that goes on from a trailing assistant message
    CHAT = "chat"  # plain chat, asked in words to go on: approximate


USAGE = {"include_usage": True}  # at the end
RUNNING_USAGE = {**USAGE, "continuous_usage_stats": True}  # vLLM's: so far, with every event


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one endpoint wants to be spoken to, as found by probing.

    ``continue_with``: fields of the body (or, with ``in_message``, of the trailing assistant message) that ask
    for continuation. ``limit_name``: ``max_tokens`` or ``max_completion_tokens``. ``template_kwargs``: whether
    ``chat_template_kwargs`` is understood. ``stream_options``: what may be asked for while streaming.
    """

    mode: Mode
    continue_with: Mapping[str, Any] = field(default_factory=dict)
    in_message: Mapping[str, Any] = field(default_factory=dict)
    limit_name: str = "max_tokens"
    template_kwargs: bool = False
    stream_options: Mapping[str, bool] = field(default_factory=lambda: USAGE)

    @property
    def path(self) -> str:
        """Below the base URL."""
        return "/completions" if self.mode in (Mode.IDS, Mode.COMPLETIONS) else "/chat/completions"


def request_body(
    model: str, dialect: Dialect, prompt: Prompt, sampling: Sampling, *, ids: Sequence[int], text: str, left: int
) -> dict[str, Any]:
    """The body that asks for at most ``left`` more tokens after ``prompt`` and what has come already.

    Args:
        ids, text: what has come of this stream so far, when it is taken up again after a break.
    """
    body: dict[str, Any] = {
        "model": model,
        dialect.limit_name: left,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stream": True,
    }
    if dialect.stream_options:
        body["stream_options"] = dict(dialect.stream_options)
    if sampling.top_k is not None:
        body["top_k"] = sampling.top_k
    if sampling.seed is not None:  # taken up again, the same seed would repeat the same draws
        body["seed"] = (sampling.seed + sampling.max_tokens - left) % 2**31
    if dialect.mode is Mode.IDS:
        body["prompt"] = [*(prompt.token_ids or ()), *ids]
        body["return_token_ids"] = True
        # what is not said, vLLM fills in from the model's generation_config.json, which is not what was asked for
        body.update({"top_k": sampling.top_k or 0, "min_p": 0.0, "repetition_penalty": 1.0})
        if sampling.stop:
            body["stop"] = list(sampling.stop)
            body["include_stop_str_in_output"] = True
        if sampling.json_schema is not None:
            body["structured_outputs"] = {"json": dict(sampling.json_schema)}
    elif dialect.mode is Mode.COMPLETIONS:
        body["prompt"] = as_text(prompt.text + text)
    else:
        body.update(_chat(dialect, prompt, prompt.continuation + text, sampling.json_schema))
    return body


def _chat(dialect: Dialect, prompt: Prompt, continuation: str, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    body: dict[str, Any] = {}
    messages = [_clean(message) for message in prompt.messages]
    if continuation:
        messages.append({"role": "assistant", "content": as_text(continuation), **dialect.in_message})
        if dialect.mode is Mode.CHAT_CONTINUE:
            body.update(dialect.continue_with)
        else:
            messages.append({"role": "user", "content": GO_ON})
    if prompt.tools:
        body["tools"] = [dict(tool) for tool in prompt.tools]
    if dialect.template_kwargs:
        body["chat_template_kwargs"] = {"enable_thinking": False}
    if schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": dict(schema)},
        }
    return {"messages": messages, **body}


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, Mapping):
        return {key: _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, (list, tuple)) else value


def as_text(value: str) -> str:
    """``value`` with surrogate pairs joined and lone surrogates as U+FFFD, so that it can be sent and encoded."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def event_data(line: bytes) -> Mapping[str, Any] | None:
    """The payload of one line of an event stream; ``{}`` for ``[DONE]``, ``None`` for a line without data.

    Raises:
        Fault: it is not a line of an event stream, or its data are not JSON, or they are an error.
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
        said = payload["error"]
        message = said.get("message", said) if isinstance(said, dict) else said
        raise Fault(f"the endpoint reported an error in its stream: {str(message)[:300]}")
    return payload


class Reader:
    """Reads one response's payloads into chunks.

    Args:
        mode: how the endpoint was asked.
        tokenizer: the endpoint's, in mode ``ids``.
        context: the ids that stand before what comes now, so that split characters are put together.
    """

    def __init__(self, mode: Mode, tokenizer: Tokenizer | None, context: Sequence[int]) -> None:
        self._mode, self._tokenizer = mode, tokenizer
        self._decoder = tokenizer.decoder(context) if mode is Mode.IDS and tokenizer is not None else None
        # models pad their vocabulary to a round number beyond the tokenizer's
        self._size = 0 if tokenizer is None else -(-len(tokenizer.hf) // _PADDED_TO) * _PADDED_TO
        self._call: int | None = None  # the tool call that is open, by the server's count
        self._ours = self._theirs = ""  # what was decoded here and there, as far as not compared yet

    def read(self, payload: Mapping[str, Any]) -> Chunk:
        """One payload as a chunk.

        Raises:
            Fault: it is not what was agreed.
        """
        usage = _usage(payload.get("usage"))
        choices = payload.get("choices")
        if not choices:
            return Chunk(usage=usage)
        if not isinstance(choices, list) or not isinstance(choices[0], dict):
            raise Fault(f"malformed choices in the event stream: {str(choices)[:80]}")
        choice = choices[0]
        finish = self._finish(choice)
        if self._mode is Mode.IDS:
            tokens = self._ids(choice)
            end = tokens.pop() if finish is Finish.END and tokens and choice.get("stop_reason") is None else None
            if finish is Finish.END and isinstance(choice.get("stop_reason"), int) and tokens:
                end = tokens.pop()
            return Chunk(tuple(tokens), finish, end, usage)
        text = self._text(choice) + self._calls(choice, ends=finish is Finish.END)
        return Chunk((Token(None, text),) if text else (), finish, None, usage)

    def _finish(self, choice: Mapping[str, Any]) -> Finish | None:
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

    def _text(self, choice: Mapping[str, Any]) -> str:
        source = choice.get("delta") if "delta" in choice else choice
        field_ = "content" if "delta" in choice else "text"
        text = source.get(field_) if isinstance(source, dict) else None
        if text is None:
            return ""
        if not isinstance(text, str):
            raise Fault(f"malformed text in the event stream: {str(text)[:80]!r}")
        return as_text(text)

    def _calls(self, choice: Mapping[str, Any], *, ends: bool) -> str:
        """Tool calls that the server has parsed out of the text, as text again: the form in which they were written.

        Raises:
            Fault: they are not as agreed.
        """
        delta = choice.get("delta")
        given = (delta.get("tool_calls") if isinstance(delta, dict) else None) or []
        text = ""
        try:
            for call in given:
                function = call.get("function") or {}
                if call.get("index", 0) != self._call:
                    before = f"{self._close()}\n" if self._call is not None else ""
                    text += before + f'{OPEN}\n{{"name": {json.dumps(str(function["name"]))}, "arguments": '
                    self._call = call.get("index", 0)
                text += function.get("arguments") or ""
        except (AttributeError, KeyError, TypeError) as error:
            raise Fault(f"malformed tool calls in the event stream: {str(given)[:80]}") from error
        return as_text(text + (self._close() if ends else ""))

    def _close(self) -> str:
        """The end of the open tool call, if one is."""
        was_open, self._call = self._call is not None, None
        return f"}}\n{CLOSE}" if was_open else ""

    def _ids(self, choice: Mapping[str, Any]) -> list[Token]:
        assert self._decoder is not None
        ids = choice.get("token_ids")
        text = self._text(choice)
        if ids is None and not text:
            return []
        if not isinstance(ids, list) or any(type(i) is not int or not 0 <= i < self._size for i in ids):
            raise Fault(f"wrong token ids in the event stream: {str(ids)[:80]}")
        logprobs = _logprobs(choice, len(ids))
        tokens = [Token(i, self._decoder.step(i), p) for i, p in zip(ids, logprobs, strict=True)]
        self._compare("".join(t.text for t in tokens), text)
        return tokens

    def _compare(self, ours: str, theirs: str) -> None:
        """Ids and text say the same, as far as both have come; U+FFFD, where decoders differ, proves nothing."""
        self._ours, self._theirs = self._ours + ours, self._theirs + theirs
        common = min(len(self._ours), len(self._theirs))
        a, b = self._ours[:common], self._theirs[:common]
        if a != b and "\ufffd" not in self._ours + self._theirs:
            raise Fault(f"wrong token ids in the event stream: they say {a[-40:]!r}, the text says {b[-40:]!r}")
        self._ours, self._theirs = self._ours[common:], self._theirs[common:]


def _logprobs(choice: Mapping[str, Any], n: int) -> list[float | None]:
    given = choice.get("logprobs")
    values = given.get("token_logprobs") if isinstance(given, dict) else None
    if not isinstance(values, list) or len(values) != n:
        return [None] * n
    return [float(v) if isinstance(v, (int, float)) else None for v in values]


def _usage(given: Any) -> EngineUsage | None:
    if not isinstance(given, dict):
        return None
    details = given.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return EngineUsage(_count(given.get("prompt_tokens")), _count(cached), _count(given.get("completion_tokens")))


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
