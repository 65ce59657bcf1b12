"""The parsers of ``with_structured_output``: LangChain's, but an answer that is not whole is an error.

LangChain's parsers complete JSON that is cut, and return ``None`` for an invalid tool call. These parsers raise an
``OutputParserException`` instead. While an answer streams, they return partial objects as LangChain's do; they check
the answer when it has ended.
"""

from __future__ import annotations

import json
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.outputs import Generation
from langchain_core.utils.json import parse_json_markdown

from relay_core.adapters.cut_answers import cut_message, whole_json


class PydanticToolCallParser(PydanticToolsParser):
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        if _has_ended(result, partial):
            _check_tool_call(result)
        return super().parse_result(result, partial=partial)


class JsonToolCallParser(JsonOutputKeyToolsParser):
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        if _has_ended(result, partial):
            _check_tool_call(result)
        return super().parse_result(result, partial=partial)


class WholeJsonParser(JsonOutputParser):
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        if _has_ended(result, partial):
            _check_json(result)
        return super().parse_result(result, partial=partial)


class WholePydanticParser(PydanticOutputParser[Any]):
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        if _has_ended(result, partial):
            _check_json(result)
        return super().parse_result(result, partial=partial)


def _message(result: list[Generation]) -> BaseMessage | None:
    return getattr(result[0], "message", None)


def _has_ended(result: list[Generation], partial: bool) -> bool:
    """Whether the answer is complete; of a stream's chunks, only the last one has a finish reason."""
    message = _message(result)
    return not partial or (message is not None and "finish_reason" in message.response_metadata)


def _report(result: list[Generation]) -> dict[str, Any]:
    message = _message(result)
    report: dict[str, Any] = {} if message is None else message.response_metadata.get("relay", {})
    return report


def _check_tool_call(result: list[Generation]) -> None:
    """Refuse an answer whose only tool call is invalid.

    Raises:
        OutputParserException: the reason why the tool call is invalid.
    """
    message = _message(result)
    if not isinstance(message, AIMessage) or message.tool_calls or not message.invalid_tool_calls:
        return
    reasons = [invalid["error"] for invalid in _report(result).get("invalid_tool_calls", ())]
    raise OutputParserException(
        f"the tool call is invalid: {'; '.join(reasons) or 'its arguments are no JSON'}",
        llm_output=str(message.invalid_tool_calls[0]["args"]),
    )


def _check_json(result: list[Generation]) -> None:
    """Refuse a text whose JSON is not whole.

    Raises:
        OutputParserException: the JSON is cut or broken, or a limit cut a number that has no bracket to end it.
    """
    text, limit = result[0].text.strip(), _report(result).get("cut_by")
    try:
        value = parse_json_markdown(text, parser=whole_json)
    except json.JSONDecodeError as error:
        reason = f"it is broken or incomplete ({error})" if limit is None else cut_message(limit, f"it ({error})")
    else:
        if limit is None or type(value) not in (int, float):
            return
        reason = cut_message(limit, "it, perhaps inside a number")
    raise OutputParserException(f"the JSON cannot be used: {reason}", llm_output=text)
