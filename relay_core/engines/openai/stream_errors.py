"""Errors that an endpoint reports inside a stream, in the shapes that servers use:

    {"error": {"message": "…", "code": 429}}         OpenAI, vLLM, OpenRouter; ``error`` may also be a string
    {"object": "error", "message": "…", "code": 400} older servers
    {"type": "error", "error": {"type": "overloaded_error", "message": "…"}}
    {"detail": "…"}, {"message": "…", "status": 503}, {"errors": [{…}]}
    {"choices": [{"error": {"code": 502, "message": "…"}, "finish_reason": "error"}]}
    event: error, with any data

The code of the error is treated like an HTTP status.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relay_core.engines.openai.sse import ServerSentEvent

_STATUS_FIELDS = ("status_code", "status", "http_status", "http_code", "code", "error_code", "type")
_MESSAGE_FIELDS = ("message", "detail", "error_msg", "msg", "error", "title")
#: codes that are words, and the HTTP status that each code means
_STATUS_OF_CODE = {
    "authentication_error": 401, "invalid_api_key": 401, "unauthenticated": 401, "unauthorized": 401,
    "permission_error": 403, "permission_denied": 403, "forbidden": 403,
    "not_found": 404, "not_found_error": 404, "notfounderror": 404, "model_not_found": 404,
    "invalid_request_error": 400, "invalid_request": 400, "invalid_argument": 400, "bad_request": 400,
    "badrequesterror": 400, "context_length_exceeded": 400, "string_above_max_length": 400,
    "failed_precondition": 400, "content_policy_violation": 400, "unsupported_parameter": 400, "invalid_value": 400,
    "request_too_large": 413, "unprocessable_entity": 422, "validation_error": 422,
    "rate_limit_exceeded": 429, "rate_limit_error": 429, "rate_limited": 429, "resource_exhausted": 429,
    "too_many_requests": 429, "insufficient_quota": 429,
    "server_error": 500, "internal_server_error": 500, "internalservererror": 500, "internal": 500, "api_error": 500,
    "unavailable": 503, "service_unavailable": 503, "overloaded": 503, "overloaded_error": 529,
    "timeout": 504, "timeout_error": 504, "deadline_exceeded": 504,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StreamError:
    """A reported error. ``status``: the HTTP status that its code means; ``None`` if it has no code."""

    message: str
    status: int | None


def stream_error(event: ServerSentEvent) -> StreamError | None:
    """The error that an event reports; ``None`` if the event reports no error."""
    payload = event.payload
    if not isinstance(payload, Mapping):
        is_error = event.name == "error"
        return StreamError(event.data.decode("utf-8", "replace"), _status(payload)) if is_error else None
    reports = [payload.get("error"), *_items(payload.get("errors")), *_choice_errors(payload)]
    report = next((report for report in reports if report), None)
    if report is None:
        is_error = event.name == "error" or payload.get("object") == "error" or payload.get("type") == "error"
        has_message = any(payload.get(name) for name in ("detail", "message", "error_msg"))
        if not is_error and not (has_message and not payload.get("choices")):
            return None
        report = payload
    return StreamError(_message(report), _status(report) or _status(payload))


def _choice_errors(payload: Mapping[str, Any]) -> list[Any]:
    return [choice.get("error") for choice in _items(payload.get("choices")) if isinstance(choice, Mapping)]


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _message(report: Any) -> str:
    if isinstance(report, Mapping):
        for name in _MESSAGE_FIELDS:
            if value := report.get(name):
                return _message(value)
    return str(report)


def _status(report: Any) -> int | None:
    """The HTTP status of a report: its number if it has one, otherwise the status that its code means."""
    if not isinstance(report, Mapping):
        return None
    nested = report.get("detail")
    values = [report.get(name) for name in _STATUS_FIELDS]
    numbers = [number for value in values if (number := _number(value)) is not None]
    words = [_STATUS_OF_CODE.get(value.strip().lower()) for value in values if isinstance(value, str)]
    return next((status for status in [*numbers, *words] if status is not None), _status(nested))


def _number(value: Any) -> int | None:
    """An HTTP status of an error as a number, from a number or its digits."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value) < 9:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 400 <= value <= 599 else None
