"""``RelayLLM``: a LlamaIndex LLM that answers by relay. What goes in and what comes out is converted elsewhere
(``messages.py``, ``replies.py``).

Left out: images and other media, and completion of a raw prompt (every prompt goes through the models' own chat
templates; ``complete`` asks it as one user message).
"""

from __future__ import annotations

import difflib
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
    ToolCallBlock,
)
from llama_index.core.bridge.pydantic import Field, SecretStr
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.llms.utils import parse_partial_json
from llama_index.core.types import Model, PydanticProgramMode

from llamaindex_relay.messages import from_llamaindex, tool_schemas
from llamaindex_relay.replies import ChatReply, CompletionReply, R, Reply
from relay_core.adapters.settings_fields import SETTINGS, SettingsFields, is_given
from relay_core.engines.base import Engine
from relay_core.engines.shared import shared_engine
from relay_core.errors import ConfigurationError
from relay_core.keys import Role, refuse_keys
from relay_core.relay import Relay
from relay_core.settings import Prices, RelaySettings
from relay_core.tools import Offer, offer

if TYPE_CHECKING:
    from llama_index.core.prompts import PromptTemplate
    from llama_index.core.tools.types import BaseTool


class RelayLLM(SettingsFields, FunctionCallingLLM):
    """A small student that writes and a large teacher that it calls, as one LLM.

    Args:
        student, teacher: engine specs (``"bundled"``, ``"vllm:…"``, ``"transformers:…"``, ``"openai:MODEL@URL"``);
            ``teacher=None`` is the student alone. Models load with the first answer, once a process.
        relay: a :class:`relay_core.Relay` of your own instead of the two; its settings count where none are given.
        student_api_key, teacher_api_key: for ``openai:`` specs; else ``RELAY_STUDENT_API_KEY`` /
            ``RELAY_TEACHER_API_KEY``, then ``OPENAI_API_KEY``. Never serialised.
        max_retries: for ``openai:`` specs, attempts after the first one.
        context_window: tokens of prompt and answer that LlamaIndex may count on; left out, the models' own.
        is_function_calling_model: ``False`` makes LlamaIndex ask for structured output in words.

    Every other argument is one of :class:`relay_core.RelaySettings`; each can be given anew with every call, by
    name: ``llm.complete("…", temperature=0.7)``.

    Raises:
        ConfigurationError: an unknown argument, or a value that cannot be used. Errors of an answer are
            :class:`relay_core.Relay`'s.

    Example:
        >>> from llamaindex_relay import RelayLLM
        >>> RelayLLM(max_calls=3, temperature=0.2).max_calls
        3
    """

    student: str = "bundled"
    teacher: str | None = "bundled"
    relay: Relay | None = Field(default=None, exclude=True, repr=False)
    student_api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)
    teacher_api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)
    max_retries: int | None = None
    context_window: int | None = Field(default=None, gt=0)
    is_function_calling_model: bool = True

    stop: tuple[str, ...] = ()
    prices: Prices | None = None

    def __init__(self, **given: Any) -> None:
        given = {name: value for name, value in given.items() if name != "class_name" and is_given(name, value)}
        for name in given:
            if name not in type(self).model_fields:
                raise ConfigurationError(f"RelayLLM has no argument {name!r}{_instead_of(name)}")
        relay = given.get("relay")
        base = RelaySettings()
        if relay is not None:
            if not isinstance(relay, Relay):
                raise ConfigurationError(f"relay is a {type(relay).__name__}: write a relay_core.Relay")
            base = relay.settings
            specs = {"student": relay.student.spec, "teacher": None if relay.teacher is None else relay.teacher.spec}
            for name, own in {**specs, "max_retries": None}.items():
                if given.get(name, own) != own:
                    raise ConfigurationError(f"relay= and {name}= are both given: the relay has it; write one of them")
            given.update(specs)
        for role in ("student", "teacher"):
            if isinstance(given.get(role), Engine):
                raise ConfigurationError(f"{role} is an engine: write relay=Relay(student, teacher), or a spec")
        # whatever is not given is the relay's: the fields always say what is in force
        settings = base.merged({name: value for name, value in given.items() if name in SETTINGS})
        given.update({name: getattr(settings, name) for name in SETTINGS})
        super().__init__(**given)
        self._relay()  # specs are checked now, not with the first answer

    @classmethod
    def class_name(cls) -> str:
        return "RelayLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """What the models say of themselves; loads neither.

        ``num_output`` is what LlamaIndex keeps free for the answer when it packs a context: ``max_tokens``, but at
        most a quarter of the window.
        """
        relay = self._relay()
        engines = [engine for engine in (relay.student, relay.teacher) if engine is not None]
        window = self.context_window or relay.context_length or DEFAULT_CONTEXT_WINDOW
        return LLMMetadata(
            context_window=window,
            num_output=min(self.max_tokens, window // 4),
            is_chat_model=True,
            is_function_calling_model=self.is_function_calling_model,
            model_name=" + ".join(engine.spec for engine in engines),
            system_role=MessageRole.SYSTEM,
        )

    # -- answers -------------------------------------------------------------------------------------------

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return self._chat(messages, kwargs).answer()

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return await self._chat(messages, kwargs).aanswer()

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        return self._chat(messages, kwargs).stream()

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        return self._chat(messages, kwargs).astream()

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return self._completion(prompt, formatted, kwargs).answer()

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return await self._completion(prompt, formatted, kwargs).aanswer()

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        return self._completion(prompt, formatted, kwargs).stream()

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        return self._completion(prompt, formatted, kwargs).astream()

    def _chat(self, messages: Sequence[ChatMessage], kwargs: Mapping[str, Any]) -> _Request[ChatResponse]:
        return self._request(ChatReply, messages, kwargs)

    def _completion(self, prompt: str, formatted: bool, kwargs: Mapping[str, Any]) -> _Request[CompletionResponse]:
        if not formatted and self.completion_to_prompt is not None:
            prompt = self.completion_to_prompt(prompt)
        return self._request(CompletionReply, [ChatMessage(role=MessageRole.USER, content=prompt)], kwargs)

    def _request(
        self, reply: type[Reply[R]], messages: Sequence[ChatMessage], kwargs: Mapping[str, Any]
    ) -> _Request[R]:
        """What is asked of the relay.

        Raises:
            ConfigurationError: a message, a tool or a setting that cannot be used; nothing was generated.
        """
        refuse_keys(kwargs)
        overrides = {name: value for name, value in kwargs.items() if is_given(name, value)}
        offered = offer(overrides.pop("tools", None), overrides.pop("tool_choice", None))
        parallel = overrides.pop("allow_parallel_tool_calls", True)
        given = {name: getattr(self, name) for name in SETTINGS}
        settings = RelaySettings(**given).merged(overrides)
        return _Request(reply, self._relay(), from_llamaindex(messages), offered, parallel, settings)

    def _relay(self) -> Relay:
        if self.relay is not None:
            return self.relay
        student = self._engine("student", self.student, self.student_api_key)
        if self.teacher is None:
            return Relay(student, None)
        return Relay(student, self._engine("teacher", self.teacher, self.teacher_api_key))

    def _engine(self, role: Role, spec: str, key: SecretStr | None) -> Engine:
        return shared_engine(spec, role=role, api_key=_secret(key), retries=self.max_retries)

    # -- tools ---------------------------------------------------------------------------------------------

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        tool_choice: Any = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """``tool_required``, and a ``tool_choice`` of ``"any"`` or a name, make the answer begin inside a call."""
        messages = list(chat_history or ())
        if isinstance(user_msg, str):
            user_msg = ChatMessage(role=MessageRole.USER, content=user_msg)
        if user_msg is not None:
            messages.append(user_msg)
        if tool_choice is None and tool_required:
            tool_choice = "any"
        return {
            "messages": messages,
            "tools": tool_schemas(tools),
            "tool_choice": tool_choice,
            "allow_parallel_tool_calls": allow_parallel_tool_calls,
            **kwargs,
        }

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """The calls of an answer; while it streams, with as much of their arguments as has come.

        Raises:
            ValueError: there is no call, and ``error_on_no_tool_call``; broken calls are named.
        """
        calls = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
        if not calls and error_on_no_tool_call:
            broken = response.message.additional_kwargs.get("invalid_tool_calls", ())
            why = "; ".join(f"a call of {call['name']!r} is broken: {call['error']}" for call in broken)
            raise ValueError(f"expected a tool call, got {why or repr(response.message.content)}")
        return [
            ToolSelection(tool_id=block.tool_call_id or "", tool_name=block.tool_name, tool_kwargs=_so_far(block))
            for block in calls
        ]

    # LlamaIndex's streaming programs forget to require the call that its other programs require.

    def _structured_stream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Any, None, None]:
        program = self._streaming_program(output_cls, prompt)
        objects: Generator[Any, None, None] = program.stream_call(llm_kwargs=llm_kwargs, **prompt_args)
        return objects

    async def _structured_astream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Any, None]:
        program = self._streaming_program(output_cls, prompt)
        objects: AsyncGenerator[Any, None] = await program.astream_call(llm_kwargs=llm_kwargs, **prompt_args)
        return objects

    def _streaming_program(self, output_cls: type[Model], prompt: PromptTemplate) -> Any:
        from llama_index.core.program.utils import get_program_for_llm

        mode = self.pydantic_program_mode
        calls = mode is PydanticProgramMode.FUNCTION or (
            mode is PydanticProgramMode.DEFAULT and self.is_function_calling_model
        )
        options = {"tool_choice": "any"} if calls else {}
        return get_program_for_llm(output_cls, prompt, self, pydantic_program_mode=mode, **options)


@dataclass(frozen=True, slots=True)
class _Request(Generic[R]):
    """One request, checked; its four faces."""

    kind: type[Reply[R]]
    relay: Relay
    messages: list[dict[str, Any]]
    offered: Offer
    parallel: bool
    settings: RelaySettings

    @property
    def _options(self) -> dict[str, Any]:
        changes = self.settings.changes(self.relay.settings)
        return {"tools": self.offered.tools, "prefix": self.offered.prefix, **changes}

    def _reply(self) -> Reply[R]:
        teacher = self.relay.teacher
        names = {"student": self.relay.student.spec, "teacher": None if teacher is None else teacher.spec}
        return self.kind(self.messages, self.offered, names=names, parallel=self.parallel)

    def answer(self) -> R:
        return self._reply().whole(self.relay.generate(self.messages, **self._options))

    async def aanswer(self) -> R:
        return self._reply().whole(await self.relay.agenerate(self.messages, **self._options))

    def stream(self) -> Generator[R, None, None]:
        reply = self._reply()
        events = self.relay.stream(self.messages, **self._options)
        with closing(events):  # type: ignore[type-var]
            for event in events:
                yield from reply.take(event)

    async def astream(self) -> AsyncGenerator[R, None]:
        reply = self._reply()
        async with aclosing(self.relay.astream(self.messages, **self._options)) as events:
            async for event in events:
                for response in reply.take(event):
                    yield response


_INSTEAD = {
    "model": "student= and teacher=, such as 'openai:MODEL@URL'",
    "base_url": "student='openai:MODEL@URL', teacher= likewise",
    "api_base": "student='openai:MODEL@URL', teacher= likewise",
    "api_key": "student_api_key= or teacher_api_key=",
    "timeout": "teacher_timeout_s= or deadline_s=",
}


def _instead_of(name: str) -> str:
    """What to write in place of an unknown argument, as the end of a sentence."""
    if name in _INSTEAD:
        return f": write {_INSTEAD[name]}"
    near = difflib.get_close_matches(name, RelayLLM.model_fields, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _secret(key: SecretStr | None) -> str | None:
    return None if key is None else key.get_secret_value()


def _so_far(block: ToolCallBlock) -> dict[str, Any]:
    """A call's arguments; while they stream, the part that can be read already."""
    if isinstance(block.tool_kwargs, dict):
        return block.tool_kwargs
    try:
        partial = parse_partial_json(block.tool_kwargs)
    except ValueError:
        return {}
    return partial if isinstance(partial, dict) else {}
