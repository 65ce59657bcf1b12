"""Reads which parts of a request an endpoint refuses, and adjusts the request.

Endpoints differ in the optional fields that they accept. A field that an endpoint refuses by name is left out of every
later request to this endpoint, and the notes of the answer report it. A request that is too long is sent again with a
smaller ``max_tokens``, if the prompt fits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from relay_core.engines.base import LOG
from relay_core.engines.openai.faults import RequestRefused
from relay_core.engines.openai.overflow import Excess, Overflow
from relay_core.errors import ContextOverflow, EngineError

#: the optional fields of a request; if two are refused together, the later one in this list is left out first
OPTIONAL = (
    "temperature", "top_p", "seed", "top_k", "min_p", "repetition_penalty", "stop", "include_stop_str_in_output",
    "logprobs", "top_logprobs", "stream_interval", "stream_options",
)  # fmt: skip
MOST_CHANGES = 16  # the most changes to one request; each field is left out at most once
_LEFT_OUT_TOGETHER = {
    "include_stop_str_in_output": ("stop",),  # the client also looks for stop strings
    "logprobs": ("top_logprobs",),
    "top_logprobs": ("logprobs",),
}
LIMITS = ("max_tokens", "max_completion_tokens")
_NAMES = {  # as in a body, and as servers in other languages write them
    name: re.compile(rf"(?<![\w.-])({name}|{re.sub('_(.)', lambda match: match[1].upper(), name)})(?![\w-])")
    for name in (*OPTIONAL, *LIMITS)
}
_SUGGESTION = re.compile(r"(did you mean|use|instead of|try)\W{0,3}[`'\"]?\w+[`'\"]?( instead)?", re.I)
_NOT_TOGETHER = re.compile(r"cannot (both )?be (both )?(specified|used|set)|only one|not both|mutually exclusive", re.I)
_MINIMUM = re.compile(r"(>=|at least|minimum( value)?( is| of|:)?|greater than or equal to)\s*`?(\d{1,4})\b", re.I)
_VALUE = re.compile(r"\bvalue|must be|positive|range|between|(less|greater) than|at (least|most)|[<>]=? ?\d", re.I)
_OF_VALUES = ("temperature", "top_p", "top_k")  # a server may refuse one value and accept another
_UNSUPPORTED = re.compile("support|allow|permit|unknown|recogni|extra|instead|invalid", re.I)
_NESTED = ("messages", "prompt", "tools", "input", "response_format", "model")  # fields that hold the user's own text
_MOST_CHARACTERS = 20_000


class FieldsRefused(RequestRefused):
    """The endpoint refused a request with 400 or 422; ``fields`` are the fields that it says it does not accept."""

    def __init__(self, message: str, fields: Collection[str], *, status: int) -> None:
        super().__init__(message, status=status)
        self.fields = tuple(fields)


class TooLong(ContextOverflow):
    """The endpoint refused a request that is too long; ``overflow`` says which part is too long."""

    def __init__(self, message: str, overflow: Overflow) -> None:
        super().__init__(message)
        self.overflow = overflow


def refused_fields(message: str, body: Any = None) -> list[str]:
    """The optional fields and limits that a refusal names; names in the error's structure come first.

    Args:
        message: the server's message.
        body: the answer as JSON, if it could be read.
    """
    known = (*OPTIONAL, *LIMITS)
    structured = [name for name in _structured_names(body) if name in known]
    if structured:
        return list(dict.fromkeys(structured))
    if _names_other_fields(body):
        return []  # the message may echo the whole request
    text = _SUGGESTION.sub(" ", message[:_MOST_CHARACTERS])
    positions = {name: match.start() for name in known if (match := _NAMES[name].search(text))}
    named = sorted(positions, key=lambda name: positions[name])
    if len(named) > 1 and _NOT_TOGETHER.search(text):
        named.sort(key=known.index, reverse=True)
    return named


def message_of(body: Any, depth: int = 0) -> str:
    """The message in the JSON of an error, in any of the usual shapes; empty if there is none."""
    if isinstance(body, str):
        return body
    if depth > 4:
        return ""
    if isinstance(body, list):
        return "; ".join(filter(None, (message_of(item, depth + 1) for item in body[:4])))
    if not isinstance(body, dict):
        return ""
    for name in ("error", "message", "detail", "msg", "errors", "error_message"):
        if message := message_of(body.get(name), depth + 1):
            code = body.get("code", body.get("type"))
            return f"{message} ({code})" if isinstance(code, str) and code not in message else message
    return ""


def parsed(text: str) -> Any:
    """``text`` as JSON; ``None`` if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


class Adjustments:
    """What one endpoint has refused so far; all requests to the endpoint share it."""

    def __init__(self) -> None:
        self._fields: frozenset[str] = frozenset()
        self._values: frozenset[tuple[str, Any]] = frozenset()  # refused values of fields that are accepted
        self._limit_names: dict[str, str] = {}  # the limit's name as probed, and the one that is accepted
        self._fewest_tokens, self._most_tokens = 1, 2**62  # the limits that are accepted

    def apply(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a request without what the endpoint refuses."""
        adjusted = {
            self._limit_names.get(name, name): value
            for name, value in body.items()
            if name not in self._fields and not (name in _OF_VALUES and (name, value) in self._values)
        }
        for name in LIMITS:
            if name in adjusted:
                adjusted[name] = max(min(adjusted[name], self._most_tokens), self._fewest_tokens)
        return adjusted

    def after(self, refusal: EngineError, body: Mapping[str, Any], keep: Collection[str] = ()) -> dict[str, Any] | None:
        """The body to send after a refusal; ``None`` if nothing can be changed.

        Args:
            refusal: the endpoint's refusal.
            body: the body that the endpoint refused.
            keep: fields that must not be left out.

        Raises:
            EngineError: the prompt and ``max_tokens`` are too long together, by an unknown number of tokens.
        """
        if isinstance(refusal, TooLong):
            return self._shortened(refusal, body)
        fields = refusal.fields if isinstance(refusal, FieldsRefused) else ()
        if not fields and isinstance(refusal, RequestRefused) and refusal.status in (400, 422):
            fields = tuple(refused_fields(refusal.message))  # the refusal came in an event of a stream
        for name in fields:
            if name not in body or name in keep:
                continue
            if name in OPTIONAL:
                return self._without(name, body, refusal.message)
            if (changed := self._with_other_limit(name, body, refusal.message)) is not None:
                return changed
        return None

    def _without(self, name: str, body: Mapping[str, Any], reason: str) -> dict[str, Any]:
        names = {name, *_LEFT_OUT_TOGETHER.get(name, ())}
        LOG.warning("%s is left out of requests like this one from now on: %s", name, reason)
        if name in _OF_VALUES and _VALUE.search(reason):
            self._values |= {(name, body[name])}
        else:
            self._fields |= names
        return {key: value for key, value in body.items() if key not in names}

    def _with_other_limit(self, name: str, body: Mapping[str, Any], reason: str) -> dict[str, Any] | None:
        """The body with a limit that is large enough, or under its other name."""
        minimum = _MINIMUM.search(reason)
        if minimum is not None and body[name] < int(minimum[4]):
            self._fewest_tokens = int(minimum[4])  # tokens beyond our own limit are discarded
            return {**body, name: self._fewest_tokens}
        other = LIMITS[1 - LIMITS.index(name)]
        if _UNSUPPORTED.search(reason) is None or name in self._limit_names.values() or other in self._limit_names:
            return None
        self._limit_names[name] = other
        return {(other if key == name else key): value for key, value in body.items()}

    def _shortened(self, refusal: TooLong, body: Mapping[str, Any]) -> dict[str, Any] | None:
        overflow = refusal.overflow
        limit = next((name for name in LIMITS if name in body), None)
        if limit is None or overflow.excess is Excess.PROMPT:
            return None
        if overflow.fits is None:
            raise EngineError(
                f"the prompt and max_tokens ({body[limit]}) are too long together: lower max_tokens= or shorten the "
                f"prompt ({refusal.message})"
            )
        if not 0 < overflow.fits < body[limit]:
            return None
        if overflow.excess is Excess.MAX_TOKENS:
            self._most_tokens = overflow.fits
        return {**body, limit: overflow.fits}


def _structured_names(body: Any, depth: int = 0) -> list[str]:
    """The names in ``param`` and in the locations of validation errors."""
    if depth > 5:
        return []
    if isinstance(body, list):
        return [name for item in body[:20] for name in _structured_names(item, depth + 1)]
    if not isinstance(body, dict):
        return []
    names = [body["param"].rpartition(".")[2]] if isinstance(body.get("param"), str) else []
    location = body.get("loc")
    if isinstance(location, list):
        return [
            *names,
            *(part for part in location if isinstance(part, str) and not {*_NESTED} & {*map(str, location)}),
        ]
    for name in ("error", "message", "detail", "errors"):
        names += _structured_names(body.get(name), depth + 1)
    return names


def _names_other_fields(body: Any, depth: int = 0) -> bool:
    if isinstance(body, dict):
        parameter = str(body.get("param")).partition("[")[0].partition(".")[0]
        if "loc" in body or parameter in _NESTED:
            return True
        return depth < 5 and any(_names_other_fields(value, depth + 1) for value in body.values())
    return isinstance(body, list) and depth < 5 and any(_names_other_fields(item, depth + 1) for item in body[:20])
