"""Finds out once per template, by rendering probes, what a chat template can do.

A template is a program. Its source does not say which parts of a conversation it shows: whether it has a system role,
whether it knows tools, and in which form it takes tool calls. We therefore render a probe, and check whether its text
is in the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from relay_core import time_limit
from relay_core.errors import ConfigurationError
from relay_core.tokenizer import Tokenizer
from relay_core.tool_parser import parse_answer

T = TypeVar("T")
Message = Mapping[str, Any]

PROBES_S = 10.0  # the most seconds for all probes together
_USER = {"role": "user", "content": "probe question"}
_ASSISTANT = {"role": "assistant", "content": "probe answer"}
_SYSTEMS = [{"role": "system", "content": f"probe instruction {n}"} for n in "123"]
_ARGUMENTS = {"probe_key": "probe value"}
_PARAMETERS = {"type": "object", "properties": {"probe_key": {"type": "string", "description": "a text"}}}
_TOOLS = [
    {"type": "function", "function": {"name": name, "description": "a probe", "parameters": _PARAMETERS}}
    for name in ("probe_tool", "probe_uncalled")
]


@dataclass(frozen=True, slots=True)
class ToolForm:
    """The form in which a template takes the tool calls of an assistant's message.

    ``arguments_as_text``: whether their arguments must be JSON text; most templates take a mapping.
    ``without_content``: whether a message without text must have the content ``None``, because the template would not
    show its tool calls with ``""``. ``is_parsed``: whether the template shows tool calls in a form that
    ``tool_parser.py`` reads, so that the model writes tool calls that can be run.
    """

    arguments_as_text: bool = False
    without_content: bool = False
    is_parsed: bool = True


class _Fact(Generic[T]):
    """A property that is found out once.

    ``functools.cached_property`` has one lock for all instances (Python 3.11): a template without end, whose probe is
    left to its time, would hold up the probes of every other model.
    """

    def __init__(self, find_out: Callable[[Any], T]) -> None:
        self._find_out = find_out
        self.__doc__ = find_out.__doc__

    def __get__(self, template: Template, owner: type[Template]) -> T:
        fact = template.__dict__[self._find_out.__name__] = self._find_out(template)
        return fact


class Template:
    """The chat template of one tokenizer. Its properties render probes when they are first read.

    Args:
        hf: the Hugging Face tokenizer that applies the template.
    """

    def __init__(self, hf: Any) -> None:
        self.hf = hf
        self.source = getattr(hf, "chat_template", None)

    def render(
        self, messages: Sequence[Message], tools: Sequence[Message] = (), *, enable_thinking: bool = False
    ) -> str:
        """The prompt as text, up to the beginning of the answer; raises the template's own exceptions."""
        options = {"add_generation_prompt": True, "enable_thinking": enable_thinking}
        offered = list(tools) or None
        if self.source and any(message.get("content", "") is None for message in messages):
            return self._render_nulls(messages, offered, options)
        return str(self.hf.apply_chat_template(list(messages), tools=offered, tokenize=False, **options))

    def _render_nulls(
        self, messages: Sequence[Message], tools: list[Message] | None, options: Mapping[str, Any]
    ) -> str:
        """As ``apply_chat_template``, which since transformers 5.24 leaves out the keys whose value is ``None``.

        The condition ``message.content is none`` is false for a missing key: the template would not show tool calls.
        """
        from transformers.utils.chat_template_utils import render_jinja_template

        rendered, _ = render_jinja_template(
            conversations=[list(messages)],
            tools=tools,
            chat_template=self.hf.get_chat_template(None, tools),
            **{**self.hf.special_tokens_map, **options},
        )
        return str(rendered[0])

    def accepts(self, *messages: Message) -> bool:
        """Whether the template renders messages of these roles in this order."""
        return self._probe(self._formed(messages)) is not None

    @_Fact
    def content_as_parts(self) -> bool:
        """Whether content must be ``[{"type": "text", "text": ...}]``, because the template does not show a string."""
        text = _USER["content"]
        return text not in (self._probe([_USER]) or "") and text in (self._probe([_in_parts(_USER)]) or "")

    @_Fact
    def renders_system(self) -> bool:
        """Whether the template shows a system message. Other templates refuse it or leave it out."""
        system = _SYSTEMS[0]
        rendered = self._probe(self._formed([system, _USER]))
        return (rendered is not None and system["content"] in rendered) or not self.accepts(_USER)

    @_Fact
    def renders_several_systems(self) -> bool:
        """Whether the template shows several system messages, at the beginning and later."""
        first, second, third = _SYSTEMS
        rendered = self._probe(self._formed([first, second, _USER, _ASSISTANT, third, _USER])) or ""
        places = [rendered.find(system["content"]) for system in _SYSTEMS]
        return -1 not in places and places == sorted(places)

    @_Fact
    def wants_turns(self) -> bool:
        """Whether the template refuses two consecutive user messages."""
        return self.accepts(_USER) and not self.accepts(_USER, _USER)

    @_Fact
    def tool_form(self) -> ToolForm | None:
        """How to pass tool calls; ``None`` if the template leaves out tools, tool calls or results."""
        for arguments_as_text in (False, True):
            for without_content in (False, True):
                is_parsed = self._shows_tools(arguments_as_text, without_content)
                if is_parsed is not None:
                    return ToolForm(arguments_as_text, without_content, is_parsed)
        return None

    @property
    def tools_as_text(self) -> bool:
        """Whether tools, tool calls and results must be written into the messages as text (``tool_text.py``)."""
        return self.tool_form is None or not self.tool_form.is_parsed

    def _shows_tools(self, arguments_as_text: bool, without_content: bool) -> bool | None:
        """Whether a tool call is shown in a form that we parse; ``None`` if it, its tool or its result is not shown."""
        arguments = '{"probe_key": "probe value"}' if arguments_as_text else _ARGUMENTS
        function = {"name": "probe_tool", "arguments": arguments}
        call = {"id": "probe1234", "type": "function", "function": function}  # Mistral's ids have nine characters
        result = {"role": "tool", "content": "probe result", "tool_call_id": "probe1234", "name": "probe_tool"}
        turn: Message = {"role": "assistant", "content": "", "tool_calls": [call]}
        formed = [*self._formed([_USER, turn]), result]
        if without_content:
            formed[1] = {**turn, "content": None}
        rendered = self._probe(formed, _TOOLS) or ""
        before, question, after = rendered.rpartition(_USER["content"])
        shown, end, _ = after.partition("probe result")
        if not question or not end or "probe_uncalled" not in before + shown:
            return None
        if "probe_tool" not in shown or "probe value" not in shown or '\\"' in shown:
            return None
        calls = parse_answer(shown).tool_calls
        return [(call.name, call.arguments) for call in calls] == [("probe_tool", _ARGUMENTS)]

    def turn_end(self) -> str:
        """What the template writes after the text of an assistant's message; empty if it refuses the probe."""
        messages = self._formed([_USER, _ASSISTANT])
        try:
            rendered = self.hf.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
        except time_limit.TimeIsUp:
            raise
        except Exception:
            return ""
        return str(rendered).rpartition(_ASSISTANT["content"])[2].strip()

    def _formed(self, messages: Sequence[Message]) -> list[Message]:
        return [_in_parts(message) for message in messages] if self.content_as_parts else list(messages)

    def _probe(self, messages: Sequence[Message], tools: Sequence[Message] = ()) -> str | None:
        """The rendered probe; ``None`` if the template refuses it."""
        try:
            return self.render(messages, tools)
        except time_limit.TimeIsUp:
            raise
        except Exception:
            return None


def template_of(tokenizer: Tokenizer) -> Template:
    """The tokenizer's chat template, with everything that is known about it."""
    template = tokenizer.template
    if template is None or template.source != getattr(tokenizer.hf, "chat_template", None):
        template = tokenizer.template = Template(tokenizer.hf)
    return template


def check_template(tokenizer: Tokenizer) -> None:
    """Raise ConfigurationError if the tokenizer has no chat template, or one that cannot be compiled."""
    if not getattr(tokenizer.hf, "chat_template", None):
        raise ConfigurationError(
            f"{tokenizer.name} has no chat template: put a chat_template.jinja beside tokenizer.json, or use an "
            "instruction-tuned model"
        )
    from jinja2 import TemplateSyntaxError

    try:
        time_limit.call(lambda: template_of(tokenizer).render([_USER]), PROBES_S)
    except TemplateSyntaxError as error:
        raise ConfigurationError(
            f"{tokenizer.name}'s chat template has a syntax error in line {error.lineno}: {error.message}; correct "
            "its chat_template.jinja"
        ) from error
    except Exception:
        return  # a refusal of these messages, or a template without end, is reported when messages are rendered


def missing_end(tokenizer: Tokenizer, end_ids: Collection[int]) -> str | None:
    """What to do if the token with which the template ends an answer is not an end token of the model; else ``None``.

    Args:
        end_ids: the ids of the model's end tokens.
    """
    try:
        end = time_limit.call(template_of(tokenizer).turn_end, PROBES_S)
    except time_limit.TimeIsUp:
        return None
    token = next((token for token in tokenizer.special_tokens if end.startswith(token)), None)
    if token is None or tokenizer.vocabulary.get(token) in end_ids:
        return None
    return (
        f"the chat template ends an answer with {token}, which is not an end token of the model, so answers may go on "
        f"until max_tokens: add its id, {tokenizer.vocabulary.get(token)}, to eos_token_id in generation_config.json"
    )


def renders_system(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer's chat template shows a system message; if not, its text goes into a user message."""
    return template_of(tokenizer).renders_system


def describe(tokenizer: Tokenizer | None) -> dict[str, str]:
    """How tools and system messages are passed to the tokenizer's chat template, for reports.

    Empty if there is no tokenizer or no template, or if the template does not end in time.
    """
    if tokenizer is None or not getattr(tokenizer.hf, "chat_template", None):
        return {}
    template = template_of(tokenizer)
    try:
        tools_as_text, has_system = time_limit.call(lambda: (template.tools_as_text, template.renders_system), PROBES_S)
    except time_limit.TimeIsUp:
        return {}
    return {
        "tools": "as text in the messages" if tools_as_text else "by the chat template",
        "system": "by the chat template" if has_system else "in the first user message",
    }


def _in_parts(message: Message) -> dict[str, Any]:
    """The message with its content as a list of one part."""
    return {**message, "content": [{"type": "text", "text": message["content"]}]}
