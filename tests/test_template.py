"""What probes find out about chat templates."""

from __future__ import annotations

import asyncio

import pytest

from relay_core import ConfigurationError, chat, time_limit
from relay_core.chat import Conversation, render, render_async
from relay_core.template import Template, ToolForm, describe, renders_system, template_of
from testing.templates import FAMILIES, source, tokenizer_of, with_template

USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."}
TEXT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"


def template(text: str) -> Template:
    return template_of(with_template(text, "<s>", "</s>"))


@pytest.mark.parametrize(
    ("family", "tool_form", "system", "several", "turns"),
    [
        ("chatml_hermes", ToolForm(), True, True, False),
        ("command_r", ToolForm(is_parsed=False), True, True, False),
        ("deepseek", None, True, True, False),  # it shows calls and results, but no tools on offer
        ("gemma2", None, False, False, True),
        ("gemma3", None, True, False, True),
        ("granite", ToolForm(), True, True, False),
        ("llama3", ToolForm(is_parsed=False), True, True, False),
        ("mistral", ToolForm(is_parsed=False), True, False, True),
        ("phi", None, True, True, False),
        ("qwen3", ToolForm(), True, True, False),
        ("smollm2", None, True, True, False),
    ],
)
def test_the_families_templates(
    family: str, tool_form: ToolForm | None, system: bool, several: bool, turns: bool
) -> None:
    found = template_of(tokenizer_of(family))
    assert (found.tool_form, found.renders_system) == (tool_form, system)
    assert (found.renders_several_systems, found.wants_turns) == (several, turns)
    assert found.tools_as_text is (tool_form != ToolForm())
    assert not found.content_as_parts


TOOLS = "{{ tools | tojson }}" + TEXT.replace("</>", "{{ calls(m) }}</>")
CALLS = "{% macro calls(m) %}{% for c in m.tool_calls %}<tool_call>{BODY}</tool_call>{% endfor %}{% endmacro %}"
AS_MAPPING = '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
AS_TEXT = AS_MAPPING.replace("| tojson", "+ ''")


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (CALLS.replace("{BODY}", AS_MAPPING) + TOOLS, ToolForm()),
        (CALLS.replace("{BODY}", AS_TEXT) + TOOLS, ToolForm(arguments_as_text=True)),
        (
            CALLS.replace("{BODY}", AS_MAPPING).replace("in m.tool_calls", "in m.tool_calls if m.content is none")
            + TOOLS,
            ToolForm(without_content=True),
        ),
        (
            CALLS.replace("{BODY}", "{{ c.function.name }}: {{ c.function.arguments | tojson }}") + TOOLS,
            ToolForm(is_parsed=False),
        ),
        (CALLS.replace("{BODY}", AS_MAPPING) + TOOLS.replace("{{ tools | tojson }}", ""), None),
        (
            CALLS.replace("{BODY}", AS_MAPPING) + TOOLS.replace("m.content", "'' if m.role == 'tool' else m.content"),
            None,
        ),
        (TOOLS.replace("{{ calls(m) }}", ""), None),
        ("{{ raise_exception('no') }}", None),
    ],
)
def test_the_form_of_tool_calls(text: str, form: ToolForm | None) -> None:
    assert template(text).tool_form == form


def test_an_empty_content_is_given_to_the_template_as_null() -> None:
    """``apply_chat_template`` of transformers 5.24 leaves the key out, so that ``is none`` is false."""
    text = "{{ bos_token }}{% for m in messages %}{{ 'no text' if m.content is none else m.content }};{% endfor %}"
    text += "{{ tools[0].function.name }}{{ add_generation_prompt }}{{ enable_thinking }}"
    tool = {"type": "function", "function": {"name": "price"}}
    found = template(text)
    for content, shown in ((None, "no text"), ("Yes.", "Yes.")):
        messages = [USER, {"role": "assistant", "content": content}]
        assert found.render(messages, [tool], enable_thinking=True) == f"<s>Hi;{shown};priceTrueTrue"


def test_a_call_whose_arguments_are_encoded_twice_is_not_the_form() -> None:
    """A template that writes a string by ``tojson`` must be given a mapping."""
    encoding = CALLS.replace("{BODY}", AS_MAPPING) + TOOLS
    broken = encoding.replace("c.function.arguments", "(c.function.arguments | tojson)")
    assert template(broken).tool_form is None


@pytest.mark.parametrize(
    ("text", "is_shown"),
    [
        (TEXT, True),
        (TEXT.replace("in messages", "in messages if m.role != 'system'"), False),
        ("{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + TEXT, False),
        ("{{ raise_exception('nothing') }}", True),  # no message at all: the refusal is not the system message's
    ],
)
def test_whether_a_system_message_is_shown(text: str, is_shown: bool) -> None:
    tokenizer = with_template(text, "<s>", "</s>")
    assert renders_system(tokenizer) is is_shown


def test_content_is_passed_as_parts_where_a_string_is_not_shown() -> None:
    text = "{% for m in messages %}<{{ m.role }}>{% for p in m.content %}{{ p.text }}{% endfor %}</>{% endfor %}"
    tokenizer = with_template(text, "<s>", "</s>")
    assert template_of(tokenizer).content_as_parts
    assert template_of(tokenizer).renders_several_systems
    messages = [{"role": "system", "content": "Brief."}, {"role": "user", "content": "Hi"}]
    assert render(tokenizer, Conversation.of(messages)).text == "<system>Brief.</><user>Hi</>"
    string_or_parts = text.replace("in m.content", "in [{'text': m.content}] if m.content is string else m.content")
    assert not template(string_or_parts).content_as_parts


def test_what_is_known_is_kept_until_the_template_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = with_template(TEXT, "<s>", "</s>")
    known = template_of(tokenizer)
    assert template_of(tokenizer) is known
    assert known.renders_system
    tokenizer.hf.chat_template = TEXT.replace("in messages", "in messages if m.role != 'system'")
    assert not renders_system(tokenizer)
    monkeypatch.setattr(tokenizer.hf, "apply_chat_template", None)
    assert not renders_system(tokenizer), "no second probe"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_probes_are_few(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found, count = Template(tokenizer_of(family).hf), 0
    render_once = Template.render

    def counted(*args: object, **options: object) -> str:
        nonlocal count
        count += 1
        return render_once(*args, **options)

    monkeypatch.setattr(Template, "render", counted)
    for _ in range(3):
        assert found.source == source(family)
        _ = found.content_as_parts, found.renders_system, found.renders_several_systems, found.wants_turns
        _ = found.tools_as_text
    assert count <= 12


def test_what_reports_say() -> None:
    assert describe(tokenizer_of("qwen3")) == {"tools": "by the chat template", "system": "by the chat template"}
    assert describe(tokenizer_of("gemma2")) == {
        "tools": "as text in the messages",
        "system": "in the first user message",
    }
    assert describe(None) == {}
    bare = tokenizer_of("qwen3")
    bare.hf.chat_template = None
    assert describe(bare) == {}


def test_a_template_without_end_is_reported_as_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    from relay_core import template as module

    monkeypatch.setattr(module, "PROBES_S", 0.3)
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    assert describe(with_template(endless, "<s>", "</s>")) == {}


async def test_a_template_without_end_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    hanging, well = with_template(endless, "<s>", "</s>"), with_template(TEXT, "<s>", "</s>")
    monkeypatch.setattr(chat, "TEMPLATE_S", 3.0)
    rendering = asyncio.ensure_future(render_async(hanging, Conversation.of("Hi")))
    await asyncio.sleep(0.1)  # it is probed on a thread of its own now
    assert describe(well)["tools"] == "as text in the messages"
    assert render(well, Conversation.of("Hi")).text == "<user>Hi</>"
    assert not rendering.done()
    with pytest.raises(ConfigurationError, match="did not end"):
        await rendering


def test_a_probe_that_runs_out_of_time_ends_the_probing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = template(TEXT)

    def too_long(*_: object, **__: object) -> str:
        raise time_limit.TimeIsUp

    monkeypatch.setattr(found, "render", too_long)
    with pytest.raises(time_limit.TimeIsUp):
        _ = found.renders_system


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_begins_with_one_bos_token_where_the_template_writes_it(family: str) -> None:
    tokenizer = tokenizer_of(family)
    ids = render(tokenizer, Conversation.of([{"role": "system", "content": "<s>"}, USER, ANSWER, USER])).token_ids
    assert ids.count(tokenizer.hf.bos_token_id) == (1 if tokenizer.hf.bos_token else 0)
