"""Prompts of eleven chat templates, compared with what vLLM's chat endpoint renders for the same messages.

``DIFFERENCES`` lists where they differ, each with its reason; everywhere else they are equal. The first test compares
the templates' own forms of tool calls too, as if our parser read all of them.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from relay_core.chat import Conversation, render
from relay_core.errors import ConfigurationError
from relay_core.template import Template
from relay_core.tokenizer import Tokenizer
from testing.templates import FAMILIES, tokenizer_of

Case = tuple[list[dict[str, Any]], list[dict[str, Any]]]


def tool(name: str, **more: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"city": {"type": "string", "description": "a city"}}}
    return {"type": "function", "function": {"name": name, "parameters": parameters, **more}}


def call(number: int, name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"call{number:05}", "type": "function", "function": {"name": name, "arguments": arguments}}


def result(number: int, name: str, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"call{number:05}", "name": name, "content": content}


SYSTEM, ANOTHER = {"role": "system", "content": "Be brief."}, {"role": "system", "content": "Answer in French."}
USER, ANSWER = {"role": "user", "content": "Hello <b>you</b>!"}, {"role": "assistant", "content": "Bonjour."}
AGAIN = {"role": "user", "content": "And in Bern?"}
PARTS = {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "two"}]}
TOOLS = [tool("weather", description="The weather."), tool("time", description="The time.")]
CALLED = {"role": "assistant", "content": "", "tool_calls": [call(1, "weather", '{"city": "Zürich \\"x\\""}')]}
BROKEN = {"role": "assistant", "content": "", "tool_calls": [call(1, "weather", '{"city": "Zü')]}
BOTH = {**CALLED, "tool_calls": [*CALLED["tool_calls"], call(2, "time", "{}")]}  # type: ignore[misc]
RESULT, LATER = result(1, "weather", "rain, 9 °C"), result(2, "time", "noon")
THOUGHT = {"role": "assistant", "content": "Oui.", "reasoning": "hm"}

PLAIN: dict[str, Case] = {
    "a question": ([USER], []),
    "a system message": ([SYSTEM, USER], []),
    "two system messages": ([SYSTEM, ANOTHER, USER], []),
    "a system message later": ([SYSTEM, USER, ANSWER, ANOTHER, AGAIN], []),
    "turns": ([SYSTEM, USER, ANSWER, AGAIN], []),
    "reasoning": ([USER, THOUGHT, AGAIN], []),
    "parts": ([PARTS], []),
}
WITH_TOOLS: dict[str, Case] = {
    "tools": ([SYSTEM, USER], TOOLS),
    "tools without a system message": ([USER], TOOLS),
    "a tool without a description": ([SYSTEM, USER], [tool("weather")]),
    "a call": ([SYSTEM, USER, CALLED, RESULT], TOOLS),
    "a call beside text": ([SYSTEM, USER, {**CALLED, "content": "Let me see."}, RESULT], TOOLS),
    "a call without content": ([SYSTEM, USER, {**CALLED, "content": None}, RESULT], TOOLS),
    "a broken call": ([SYSTEM, USER, BROKEN, RESULT], TOOLS),
    "a second turn": ([SYSTEM, USER, CALLED, RESULT, ANSWER, AGAIN], TOOLS),
    "parallel calls": ([SYSTEM, USER, BOTH, RESULT, LATER], TOOLS),
    "no calls, as an empty list": ([SYSTEM, USER, {**ANSWER, "tool_calls": []}, AGAIN], TOOLS),
}
CASES = PLAIN | WITH_TOOLS


def by_vllm(tokenizer: Tokenizer, case: Case) -> str:
    """The prompt of vLLM's chat endpoint, or why it refuses the messages."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.renderers import chat_utils, hf

    messages, tools = case
    request = ChatCompletionRequest.model_validate({"messages": messages, "tools": tools or None})
    dicts = [tool.model_dump() for tool in request.tools] if request.tools else None
    model: Any = SimpleNamespace(
        multimodal_config=None,
        enable_prompt_embeds=False,
        allowed_local_media_path="",
        allowed_media_domains=None,
        revision=None,
        code_revision=None,
        trust_remote_code=False,
        hf_config=SimpleNamespace(model_type="any"),
    )
    template: Any = tokenizer.hf.chat_template
    content_format = hf.resolve_chat_template_content_format(template, dicts, "auto", tokenizer.hf, model_config=model)
    conversation, _, _ = chat_utils.parse_chat_messages(list(request.messages), model, content_format)
    return hf.safe_apply_chat_template(
        model, tokenizer.hf, conversation, tools=dicts, chat_template=template, tokenize=False,
        add_generation_prompt=True, enable_thinking=False,
    )  # fmt: skip


NO_SYSTEM = "the template refuses a system message: ours puts its text before the first user message"
ONE_SYSTEM = "the template refuses a second system message: ours joins them into the first"
NO_TOOLS = "the template leaves tools out, or refuses their turns: ours writes them into the messages as text"
DESCRIPTION = "vLLM passes null for a missing description, which templates join to text: ours passes an empty one"
PARTS_JOINED = "a template that reads parts shows one behind the other: ours joins them by newlines, as for the others"
FORMS = "the template's own form of tool calls is not parsed here: ours writes tools into the messages as text"

DIFFERENCES: dict[tuple[str, str], str] = {
    **{
        (family, case): NO_TOOLS for family in ("deepseek", "gemma2", "gemma3", "phi", "smollm2") for case in WITH_TOOLS
    },
    **{
        (family, "a tool without a description"): DESCRIPTION
        for family in ("chatml_hermes", "command_r", "granite", "llama3", "mistral", "qwen3")
    },
    **{("gemma2", case): NO_SYSTEM for case, (messages, _) in CASES.items() if SYSTEM in messages},
    **{
        (family, case): ONE_SYSTEM
        for family in ("gemma3", "mistral")
        for case in ("two system messages", "a system message later")
    },
    ("gemma3", "parts"): PARTS_JOINED,
    ("llama3", "parallel calls"): "the template refuses them, in ours too; only as text both are shown",
}


def of_vllm(tokenizer: Tokenizer, case: Case) -> str:
    from vllm.exceptions import VLLMValidationError

    try:
        return by_vllm(tokenizer, case)
    except VLLMValidationError as error:
        return f"vLLM: {error}"


def ours(tokenizer: Tokenizer, case: Case) -> str:
    messages, tools = case
    try:
        return render(tokenizer, Conversation.of(messages, tools=tools)).text
    except ConfigurationError as error:
        return f"ours: {error}"


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_are_those_of_vllms_chat_endpoint(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Template, "tools_as_text", property(lambda template: template.tool_form is None))
    tokenizer = tokenizer_of(family)
    differing = {name for name, case in CASES.items() if ours(tokenizer, case) != of_vllm(tokenizer, case)}
    assert differing == {case for of, case in DIFFERENCES if of == family}


@pytest.mark.parametrize("family", FAMILIES)
def test_forms_that_are_not_parsed_are_the_only_further_difference(family: str) -> None:
    """As above, without telling the templates that their form of tool calls is parsed."""
    tokenizer = tokenizer_of(family)
    differing = {name for name, case in CASES.items() if ours(tokenizer, case) != of_vllm(tokenizer, case)}
    further = dict.fromkeys(WITH_TOOLS, FORMS) if family in ("command_r", "llama3", "mistral") else {}
    assert differing == {case for of, case in DIFFERENCES if of == family} | further.keys()
