"""``with_structured_output``: the arguments that each method binds to the model, and how the answer is parsed.

function_calling   the schema is a tool, and the answer is forced to begin with a call of this tool
json_mode          the answer is forced to begin with ``{``
json_schema        the relay writes the answer, and then one model writes it again as JSON under the schema
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.output_parsers import BaseOutputParser
from langchain_core.runnables import Runnable, RunnableLambda, RunnableMap
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from langchain_relay.parsers import (
    JsonToolCallParser,
    PydanticToolCallParser,
    WholeJsonParser,
    WholePydanticParser,
)
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

    def parse(answer: dict[str, Any]) -> dict[str, Any]:
        # not ``with_fallbacks``, which raises the error when it streams
        try:
            return {**answer, "parsed": parser.invoke(answer["raw"]), "parsing_error": None}
        except Exception as error:
            return {**answer, "parsed": None, "parsing_error": error}

    return RunnableMap(raw=llm) | RunnableLambda(parse)


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
        return llm, PydanticToolCallParser(tools=[schema], first_tool_only=True)
    return llm, JsonToolCallParser(key_name=name, first_tool_only=True)


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
    parser: BaseOutputParser[Any] = WholeJsonParser()
    if _is_pydantic(schema):
        parser = WholePydanticParser(pydantic_object=schema)
    return llm, parser


def _is_pydantic(schema: Any) -> bool:
    return isinstance(schema, type) and is_basemodel_subclass(schema)
