"""Tools as text, for chat templates that know no tools: the tools on offer, earlier tool calls, and results.

The text has the form that ``tool_parser.py`` reads, so that a model that imitates it writes tool calls that can be run:

    system      … # Tools … <tools>{schemas}</tools> … how to call one
    assistant   <tool_call>\\n{"name": "price", "arguments": {"item": "tea"}}\\n</tool_call>
    user        <tool_response>\\n3 francs\\n</tool_response>
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from relay_core.tools import TOOL_CALL_CLOSE, TOOL_CALL_OPEN, without_tags

_OFFER = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{schemas}
</tools>

For each function call, return a json object with function name and arguments within {open}{close} XML tags:
{open}
{{"name": <function-name>, "arguments": <args-json-object>}}
{close}"""


def offer_text(tools: Sequence[Mapping[str, Any]]) -> str:
    """The description of the tools on offer, for the end of the system message."""
    schemas = "\n".join(without_tags(json.dumps(tool, ensure_ascii=False)) for tool in tools)
    return _OFFER.format(schemas=schemas, open=TOOL_CALL_OPEN, close=TOOL_CALL_CLOSE)


def call_text(function: Mapping[str, Any]) -> str:
    """An earlier tool call; ``function`` has a ``name`` and, as a mapping, ``arguments``."""
    call = {"name": function["name"], "arguments": function["arguments"]}
    return f"{TOOL_CALL_OPEN}\n{without_tags(json.dumps(call, ensure_ascii=False))}\n{TOOL_CALL_CLOSE}"


def result_text(result: str) -> str:
    """The result of a tool call."""
    return f"<tool_response>\n{result}\n</tool_response>"


def as_text(messages: Sequence[Mapping[str, Any]], *, wants_turns: bool) -> list[dict[str, Any]]:
    """The messages with tool calls and results in their content, and without ``tool_calls`` and the role ``tool``.

    Args:
        wants_turns: whether the template refuses two consecutive user messages; a question after a result is then
            joined to the result. Consecutive results are always joined.
    """
    written: list[dict[str, Any]] = []
    before = ""
    for message in messages:
        role, content = message["role"], message["content"]
        after_result = before == "tool" and (role == "tool" or (role == "user" and wants_turns))
        if role == "tool":
            message = {"role": "user", "content": result_text(content)}
        elif calls := message.get("tool_calls"):
            texts = [content] if content else []
            texts += [call_text(call["function"]) for call in calls]
            message = {key: value for key, value in message.items() if key != "tool_calls"}
            message["content"] = "\n".join(texts)
        if after_result:
            separator = "\n" if role == "tool" else "\n\n"
            written[-1]["content"] += separator + message["content"]
        else:
            written.append(dict(message))
        before = role
    return written
