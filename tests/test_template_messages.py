"""Messages in the form that a chat template takes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relay_core.chat import Conversation, render
from relay_core.errors import ConfigurationError
from relay_core.template import template_of
from relay_core.template_messages import arguments_mapping, in_form, normalised, normalised_tool
from relay_core.tool_parser import parse_answer
from relay_core.tools import assistant_message, tool_call_entry, tool_message
from testing.templates import FAMILIES, tokenizer_of, with_template

USER = {"role": "user", "content": "Tea?"}
TEA = tool_call_entry("c1", "price", {"item": "tea"})
NOW = tool_call_entry("c2", "now", {})
PRICE = {"type": "function", "function": {"name": "price", "description": "A price.", "parameters": {}}}
ROUND = [USER, assistant_message("", [TEA]), tool_message("3 francs", "c1")]
WITHOUT_PARSED_FORM = ["command_r", "deepseek", "gemma2", "gemma3", "llama3", "mistral", "phi", "smollm2"]


def prompt(family: str, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None) -> str:
    return render(tokenizer_of(family), Conversation.of(messages, tools=tools)).text


# -- what every template is given


def test_arguments_are_a_mapping_once_and_twice() -> None:
    (message,) = normalised([assistant_message("", [TEA])])
    assert message["tool_calls"][0]["function"] == {"name": "price", "arguments": {"item": "tea"}}
    assert normalised([message]) == [message]
    assert TEA["function"]["arguments"] == '{"item": "tea"}', "the caller's message is as it was"


@pytest.mark.parametrize("broken", ['{"item": ', "", "tea", "[1]", "7", None, "[" * 100_000])
@pytest.mark.parametrize("family", FAMILIES)
def test_broken_arguments_of_an_earlier_call_are_left_out(family: str, broken: Any) -> None:
    assert arguments_mapping(broken) == {}
    call = {"id": "c12345678", "type": "function", "function": {"name": "price", "arguments": broken}}
    messages = [USER, assistant_message("", [call]), tool_message("Error: no JSON", "c12345678")]
    text = prompt(family, messages, [PRICE])
    assert "Error: no JSON" in text
    if family != "chatml_hermes":  # its results repeat the name
        assert text.count('"name": "price"') == 2


def test_a_result_gets_the_name_of_its_tool() -> None:
    both = assistant_message("", [TEA, NOW])
    results = normalised([USER, both, tool_message("noon", "c2"), tool_message("3 francs", "c1")])[2:]
    assert [result["name"] for result in results] == ["now", "price"]
    by_order = normalised([USER, both, {"role": "tool", "content": "3"}, tool_message("noon", "")])[2:]
    assert [result["name"] for result in by_order] == ["price", "now"]
    given = {**tool_message("3", "c1"), "name": "its own"}
    assert normalised([both, given])[1] == given
    assert "name" not in normalised([both, tool_message("3", "unknown")])[1]


def test_a_template_that_needs_the_name_of_a_result_gets_it() -> None:
    assert '{"name": "price", "content": "3 francs"}' in prompt("chatml_hermes", ROUND, [PRICE])


def test_no_tool_calls_are_no_key() -> None:
    for nothing in ([], None, ()):
        assert normalised([{"role": "assistant", "content": "Hi", "tool_calls": nothing}]) == [
            {"role": "assistant", "content": "Hi"}
        ]


@pytest.mark.parametrize("key", ["reasoning", "reasoning_content"])
def test_reasoning_has_the_name_that_the_template_reads(key: str) -> None:
    for read in ("reasoning", "reasoning_content"):
        tokenizer = with_template(f"{{% for m in messages %}}{{{{ m.{read} }}}}{{% endfor %}}", "<s>", "</s>")
        messages = [{"role": "assistant", "content": "Yes.", key: "hm </s>"}]
        rendered = render(tokenizer, Conversation.of(messages))
        assert rendered.text == "hm </s>"
        assert tokenizer.special_ids.isdisjoint(rendered.token_ids)


def test_keys_that_are_null_are_left_out_with_every_version_of_transformers() -> None:
    nulls = {"reasoning_content": None, "refusal": None, "tool_calls": None}
    (message,) = normalised([assistant_message("Yes.") | nulls | {"reasoning": "hm"}])
    assert message == assistant_message("Yes.") | {"reasoning": "hm", "reasoning_content": "hm"}
    (message,) = normalised([assistant_message("Yes.") | nulls])
    assert message == assistant_message("Yes.")


def test_a_tools_schema_is_in_the_order_that_models_know() -> None:
    function = {"parameters": {"type": "object"}, "strict": True, "name": "price"}
    schema = normalised_tool({"function": function})
    assert json.dumps(schema) == (
        '{"type": "function", "function": {"name": "price", "description": "", '
        '"parameters": {"type": "object"}, "strict": true}}'
    )
    assert normalised_tool(function) == schema
    assert normalised_tool({**PRICE["function"], "type": "function"})["function"].keys() == PRICE["function"].keys()
    with pytest.raises(ConfigurationError, match="this tool has no name"):
        prompt("qwen3", [USER], [{"function": {}}])


# -- the template's own form


def test_qwens_history_is_encoded_once() -> None:
    assert '<tool_call>\n{"name": "price", "arguments": {"item": "tea"}}\n</tool_call>' in prompt(
        "qwen3", ROUND, [PRICE]
    )


def test_a_template_that_joins_arguments_to_text_gets_text() -> None:
    calls = '{% for c in m.tool_calls %}<tool_call>{"name": "{{ c.function.name }}", "arguments": '
    calls += "{{ c.function.arguments + '}</tool_call>' }}{% endfor %}"
    source = "{{ tools }}{% for m in messages if m.tool_calls and m.content is none or not m.tool_calls %}"
    source += "{{ m.content or '' }}" + calls + "{% endfor %}"
    text = render(with_template(source, "<s>", "</s>"), Conversation.of(ROUND, tools=[PRICE])).text
    assert '<tool_call>{"name": "price", "arguments": {"item": "tea"}}</tool_call>3 francs' in text


def test_control_tokens_in_arguments_stay_text() -> None:
    words = '</tool_call><|im_end|>"<|im_start|>'
    for arguments in ({"item": words, words: 1}, json.dumps({"item": words})):
        tokenizer = tokenizer_of("qwen3")
        messages = [USER, assistant_message("", [tool_call_entry("c1", "price", arguments)]), ROUND[2]]
        rendered = render(tokenizer, Conversation.of(messages, tools=[PRICE]))
        plain = render(tokenizer, Conversation.of(ROUND, tools=[PRICE]))
        controls = [tokenizer.vocabulary[token] for token in tokenizer.control_tokens]
        assert [i for i in rendered.token_ids if i in controls] == [i for i in plain.token_ids if i in controls]
        assert json.dumps(words)[1:-1] in rendered.text


# -- tools as text


@pytest.mark.parametrize("family", WITHOUT_PARSED_FORM)
def test_tools_calls_and_results_are_shown_as_text(family: str) -> None:
    both = assistant_message("Let me see.", [TEA, NOW])
    messages = [
        {"role": "system", "content": "Be brief."}, USER, both, tool_message("3 francs", "c1"),
        tool_message("noon", "c2"), assistant_message("3 francs at noon."), {"role": "user", "content": "And milk?"},
    ]  # fmt: skip
    rendered = render(tokenizer_of(family), Conversation.of(messages, tools=[PRICE]))
    before, _, after = rendered.text.partition("Let me see.")
    # Mistral's template puts the system text before the last question
    offered = after if family == "mistral" else before
    assert "Be brief." in offered
    assert '{"type": "function", "function": {"name": "price", "description": "A price.", "parameters": ' in offered
    parsed = parse_answer(after)
    calls = [(call.name, call.arguments) for call in parsed.tool_calls]
    assert calls[:2] == [("price", {"item": "tea"}), ("now", {})]
    results = "<tool_response>\n3 francs\n</tool_response>\n<tool_response>\nnoon\n</tool_response>"
    assert results in after
    assert after.index(results) < after.index("3 francs at noon.") < after.index("And milk?")
    (remark,) = [remark for remark in rendered.remarks if "tools" in remark]
    assert "written into the messages as text" in remark


@pytest.mark.parametrize("family", FAMILIES)
def test_a_remark_is_made_only_of_what_was_needed(family: str) -> None:
    def remarks(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None) -> str:
        return "; ".join(render(tokenizer_of(family), Conversation.of(messages, tools=tools)).remarks)

    assert remarks([USER]) == ""
    assert ("no system message" in remarks([{"role": "system", "content": "Be brief."}, USER])) == (family == "gemma2")
    assert ("as text" in remarks([USER], [PRICE])) == (family in WITHOUT_PARSED_FORM)
    assert ("as text" in remarks(ROUND)) == (family in WITHOUT_PARSED_FORM), "a history without tools on offer"


def test_a_question_behind_a_result_is_joined_to_it_only_where_turns_must_alternate() -> None:
    messages = [*ROUND, {"role": "user", "content": "And milk?"}]
    result = "<tool_response>\n3 francs\n</tool_response>"
    assert f"{result}\n\nAnd milk?<end_of_turn>" in prompt("gemma3", messages)
    assert f"{result}<|im_end|>\n<|im_start|>user\nAnd milk?<|im_end|>" in prompt("smollm2", messages)


def test_no_text_of_a_message_is_a_tag_of_a_tool_call() -> None:
    tokenizer = tokenizer_of("smollm2")
    words = "</tool_response></tool_call><tool_call><|im_end|>"
    messages = [
        {"role": "system", "content": words}, {"role": "user", "content": words},
        assistant_message("", [tool_call_entry("c1", "price", {"item": words})]), tool_message(words, "c1"),
    ]  # fmt: skip
    plain = [USER | {"role": "system"}, USER, *ROUND[1:]]
    tool = {"type": "function", "function": {"name": "price", "description": words}}
    rendered = render(tokenizer, Conversation.of(messages, tools=[tool]))
    expected = render(tokenizer, Conversation.of(plain, tools=[PRICE]))
    controls = [tokenizer.vocabulary[token] for token in tokenizer.control_tokens]
    assert [i for i in rendered.token_ids if i in controls] == [i for i in expected.token_ids if i in controls]
    assert tokenizer.decode(rendered.token_ids, control=True) == rendered.text


# -- the system text


def test_the_system_text_goes_before_the_first_question_where_there_is_no_system_role() -> None:
    messages = [{"role": "system", "content": "Be brief."}, USER, assistant_message("Yes."), USER]
    rendered = render(tokenizer_of("gemma2"), Conversation.of(messages))
    assert rendered.text.startswith("<bos><start_of_turn>user\nBe brief.\n\nTea?<end_of_turn>\n")
    assert rendered.text.count("Be brief.") == 1
    assert rendered.remarks == (
        "the chat template shows no system message: its text was put before the first user message",
    )


def test_a_template_that_leaves_the_system_message_out_in_silence() -> None:
    source = "{% for m in messages if m.role != 'system' %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    tokenizer = with_template(source, "<s>", "</s>")
    system = {"role": "system", "content": "Be brief."}
    assert render(tokenizer, Conversation.of([system, USER])).text == "[user] Be brief.\n\nTea?\n"
    assert render(tokenizer, Conversation.of([system])).text == "[user] Be brief.\n"
    begun = render(tokenizer, Conversation.of([system, assistant_message("Yes."), USER])).text
    assert begun == "[assistant] Yes.\n[user] Be brief.\n\nTea?\n"


@pytest.mark.parametrize("family", FAMILIES)
def test_no_system_message_of_several_is_lost(family: str) -> None:
    first, second, third = ({"role": "system", "content": f"rule {n}"} for n in "123")
    text = prompt(family, [first, second, USER, assistant_message("Yes."), third, USER])
    assert [text.count(f"rule {n}") for n in "123"] == [1, 1, 1]


def test_several_system_messages_are_joined_only_where_the_template_would_lose_one() -> None:
    template = template_of(tokenizer_of("qwen3"))
    messages = [{"role": "system", "content": n} for n in "ab"] + [USER]
    assert in_form(template, messages, ()).messages == messages
    joined = in_form(template_of(tokenizer_of("mistral")), messages, ()).messages
    assert joined == [{"role": "system", "content": "a\n\nb"}, USER]


def test_instructions_for_the_student_are_shown_without_a_system_role() -> None:
    instructed = Conversation.of([USER]).instructed("Write <call>8</call>.")
    text = render(tokenizer_of("gemma2"), instructed).text
    assert text.startswith("<bos><start_of_turn>user\nWrite <call>8</call>.\n\nTea?<end_of_turn>\n")
