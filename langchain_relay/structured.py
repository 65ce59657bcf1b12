"""``with_structured_output``: how each method asks, and what reads the answer. Stateless; it knows any chat model.

function_calling   the schema is a tool, and the answer begins inside a call of it
json_mode          the answer begins with ``{``
json_schema        the answer is written, then written again by one side under the schema
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
    asked: Mapping[str, Any],
) -> Runnable[Any, Any]:
    """``model`` with answers read into ``schema``.

    Args:
        asked: more to bind to the model, as the caller gave it.

    Raises:
        ConfigurationError: an unknown method, or no schema where one is needed.
    """
    if method not in METHODS:
        raise ConfigurationError(f"method is {method!r}: write one of {', '.join(METHODS)}")
    if schema is None and method != "json_mode":
        raise ConfigurationError(f"method={method!r} needs a schema: a pydantic class, a TypedDict or a JSON schema")
    if method == "function_calling":
        llm, parser = _by_tool(model, schema, strict, asked)
    else:
        llm, parser = _by_text(model, schema, method, strict, asked)
    if not include_raw:
        return llm | parser
    parse: Runnable[Any, Any] = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
    )
    failed: Runnable[Any, Any] = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=llm) | parse.with_fallbacks([failed], exception_key="parsing_error")


def _by_tool(
    model: BaseChatModel, schema: Any, strict: bool | None, asked: Mapping[str, Any]
) -> tuple[Runnable[Any, Any], Runnable[Any, Any]]:
    name = convert_to_openai_tool(schema)["function"]["name"]
    llm = model.bind_tools(
        [schema],
        tool_choice=name,
        strict=strict,
        parallel_tool_calls=False,
        ls_structured_output_format={"kwargs": {"method": "function_calling", "strict": strict}, "schema": schema},
        **asked,
    )
    if _is_pydantic(schema):
        return llm, _PydanticCall(tools=[schema], first_tool_only=True)
    return llm, _JsonCall(key_name=name, first_tool_only=True)


class _PydanticCall(PydanticToolsParser):
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        _check_call(result, partial)
        return super().parse_result(result, partial=partial)


class _JsonCall(JsonOutputKeyToolsParser):
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        _check_call(result, partial)
        return super().parse_result(result, partial=partial)


def _check_call(result: list[Generation], partial: bool) -> None:
    """The answer began inside the call, so one that is broken is all there is: LangChain would make ``None`` of it.

    Raises:
        OutputParserException: what is wrong with the call.
    """
    message = getattr(result[0], "message", None)
    if not isinstance(message, AIMessage) or message.tool_calls or not message.invalid_tool_calls:
        return
    if partial and getattr(message, "chunk_position", None) != "last":
        return
    reasons = [broken["error"] for broken in message.response_metadata.get("relay", {}).get("invalid_tool_calls", ())]
    raise OutputParserException(
        f"the call is broken: {'; '.join(reasons) or 'its arguments are no JSON'}",
        llm_output=str(message.invalid_tool_calls[0]["args"]),
    )


def _by_text(
    model: BaseChatModel, schema: Any, method: str, strict: bool | None, asked: Mapping[str, Any]
) -> tuple[Runnable[Any, Any], Runnable[Any, Any]]:
    response_format: dict[str, Any] = {"type": "json_object"}
    if method == "json_schema":
        wanted = convert_to_json_schema(schema)
        named = {"name": wanted.get("title", "answer"), "schema": wanted, "strict": strict}
        response_format = {"type": "json_schema", "json_schema": named}
    traced = {"kwargs": {"method": method, "strict": strict}, "schema": schema}
    shown = {} if schema is None else {"ls_structured_output_format": traced}
    llm = model.bind(response_format=response_format, **shown, **asked)
    parser: BaseOutputParser[Any] = JsonOutputParser()
    if _is_pydantic(schema):
        parser = PydanticOutputParser(pydantic_object=schema)
    return llm, parser


def _is_pydantic(schema: Any) -> bool:
    return isinstance(schema, type) and is_basemodel_subclass(schema)
