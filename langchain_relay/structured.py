"""``with_structured_output``: the arguments that each method binds to the model, and the parser of the answer.

function_calling   the schema is a tool, and the answer is forced to begin with a call of this tool
json_mode          the answer is forced to begin with ``{``
json_schema        the relay writes the answer, and then one model writes it again as JSON under the schema
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import BaseOutputParser, JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.outputs import Generation
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from relay_core.errors import ConfigurationError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

METHODS = ("function_calling", "json_mode", "json_schema")


def structured(
    model: BaseChatModel,
    schema: dict[str, Any] | type | None,
    *,
    method: str,
    include_raw: bool,
    strict: bool | None,
    bound: Mapping[str, Any],
) -> Runnable[Any, Any]:
    """``model`` with its answers parsed into ``schema``.

    Args:
        bound: further arguments to bind to the model.

    Raises:
        ConfigurationError: the method is unknown, or it needs a schema.
    """
    if method not in METHODS:
        raise ConfigurationError(f"method is {method!r}: write one of {', '.join(METHODS)}")
    if schema is None and method != "json_mode":
        raise ConfigurationError(f"method={method!r} needs a schema: a pydantic class, a TypedDict or a JSON schema")
    if method == "function_calling":
        llm, parser = _by_tool_call(model, schema, strict, bound)
    else:
        llm, parser = _by_text(model, schema, method, strict, bound)
    if not include_raw:
        return llm | parser
    parse: Runnable[Any, Any] = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
    )
    failed: Runnable[Any, Any] = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=llm) | parse.with_fallbacks([failed], exception_key="parsing_error")


def _by_tool_call(
    model: BaseChatModel, schema: Any, strict: bool | None, bound: Mapping[str, Any]
) -> tuple[Runnable[Any, Any], Runnable[Any, Any]]:
    name = convert_to_openai_tool(schema)["function"]["name"]
    llm = model.bind_tools(
        [schema],
        tool_choice=name,
        strict=strict,
        parallel_tool_calls=False,
        ls_structured_output_format={"kwargs": {"method": "function_calling", "strict": strict}, "schema": schema},
        **bound,
    )
    if _is_pydantic(schema):
        return llm, _PydanticToolCallParser(tools=[schema], first_tool_only=True)
    return llm, _JsonToolCallParser(key_name=name, first_tool_only=True)


class _PydanticToolCallParser(PydanticToolsParser):
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        _check_tool_call(result, partial)
        return super().parse_result(result, partial=partial)


class _JsonToolCallParser(JsonOutputKeyToolsParser):
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        _check_tool_call(result, partial)
        return super().parse_result(result, partial=partial)


def _check_tool_call(result: list[Generation], partial: bool) -> None:
    """Refuse an answer whose only tool call is invalid, for which LangChain's parsers would return ``None``.

    Raises:
        OutputParserException: the reason why the tool call is invalid.
    """
    message = getattr(result[0], "message", None)
    if not isinstance(message, AIMessage) or message.tool_calls or not message.invalid_tool_calls:
        return
    if partial and getattr(message, "chunk_position", None) != "last":
        return
    reports = message.response_metadata.get("relay", {}).get("invalid_tool_calls", ())
    reasons = [report["error"] for report in reports]
    raise OutputParserException(
        f"the tool call is invalid: {'; '.join(reasons) or 'its arguments are no JSON'}",
        llm_output=str(message.invalid_tool_calls[0]["args"]),
    )


def _by_text(
    model: BaseChatModel, schema: Any, method: str, strict: bool | None, bound: Mapping[str, Any]
) -> tuple[Runnable[Any, Any], Runnable[Any, Any]]:
    response_format: dict[str, Any] = {"type": "json_object"}
    if method == "json_schema":
        json_schema = convert_to_json_schema(schema)
        named_schema = {"name": json_schema.get("title", "answer"), "schema": json_schema, "strict": strict}
        response_format = {"type": "json_schema", "json_schema": named_schema}
    traced_format = {"kwargs": {"method": method, "strict": strict}, "schema": schema}
    tracing = {} if schema is None else {"ls_structured_output_format": traced_format}
    llm = model.bind(response_format=response_format, **tracing, **bound)
    parser: BaseOutputParser[Any] = JsonOutputParser()
    if _is_pydantic(schema):
        parser = PydanticOutputParser(pydantic_object=schema)
    return llm, parser


def _is_pydantic(schema: Any) -> bool:
    return isinstance(schema, type) and is_basemodel_subclass(schema)
