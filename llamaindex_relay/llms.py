"""``RelayLLM``: a relay as a LlamaIndex LLM. This package's ``__init__`` lists the other modules.

Images and other media are not supported. Raw prompts are not supported either: every prompt goes through the models'
chat templates, and ``complete`` sends its prompt as one user message.
"""

from __future__ import annotations

import pickle
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
from llama_index.core.bridge.pydantic import ConfigDict, Field, SecretStr
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.llms.utils import parse_partial_json
from llama_index.core.types import Model, PydanticProgramMode

from llamaindex_relay.arguments import constructor_arguments
from llamaindex_relay.errors import no_tool_call
from llamaindex_relay.messages import from_llamaindex, tool_schemas
from llamaindex_relay.replies import ChatReply, CompletionReply, R, Reply
from llamaindex_relay.requests import Request
from relay_core.adapters.arguments import translated
from relay_core.adapters.build_relay import build_relay
from relay_core.adapters.identity import calls_tools, relay_name
from relay_core.adapters.pickling import PickledWithoutKeys
from relay_core.adapters.settings_fields import SettingsFields, settings_of
from relay_core.errors import ConfigurationError
from relay_core.keys import refuse_keys
from relay_core.relay import Relay
from relay_core.settings import Prices
from relay_core.tools import offer

if TYPE_CHECKING:
    from llama_index.core.prompts import PromptTemplate
    from llama_index.core.tools.types import BaseTool


class RelayLLM(PickledWithoutKeys, SettingsFields, FunctionCallingLLM):
    """A small student model that writes and a large teacher model that it calls, as one LLM.

    Args:
        student, teacher: engine specs (``"bundled"``, ``"vllm:PATH_OR_ID"``, ``"transformers:PATH_OR_ID"``,
            ``"openai:MODEL@URL"``). With ``teacher=None``, the student answers alone. ``model`` is an alias of
            ``student``. A model loads with the first answer, once per process.
        relay: a :class:`relay_core.Relay` to use instead of ``student`` and ``teacher``; its settings are the defaults.
        student_api_key, teacher_api_key: the API keys for ``openai:`` specs; by default the value of
            ``RELAY_STUDENT_API_KEY`` or ``RELAY_TEACHER_API_KEY``, else of ``OPENAI_API_KEY``. ``api_key`` is an alias
            of ``teacher_api_key``. Keys are never serialised.
        max_retries: for ``openai:`` specs, the most attempts after the first one.
        context_window: the tokens that prompt and answer may have together, for LlamaIndex's packing of documents; by
            default the context window of the models.
        is_function_calling_model: whether the student knows tool calls. With ``False``, LlamaIndex requests structured
            output in the text of the prompt. By default ``False`` only for a bundled student.

    Every other argument is a setting of :class:`relay_core.RelaySettings`. Each method can replace a setting by name:
    ``llm.complete("…", temperature=0.7)``.

    Raises:
        ConfigurationError: an argument is unknown, or its value cannot be used. The methods raise the errors of
            :class:`relay_core.Relay`.

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
    is_function_calling_model: bool | None = None

    stop: tuple[str, ...] = ()
    prices: Prices | None = None

    model_config = ConfigDict(hide_input_in_errors=True)

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**constructor_arguments(arguments, type(self).model_fields))
        self._relay()  # refuses a wrong spec now instead of at the first answer

    def __getstate__(self) -> dict[Any, Any]:
        # LlamaIndex leaves out fields that cannot be pickled, and only warns. The unpickled RelayLLM would then answer
        # with other models. This method raises the relay's own error instead.
        pickle.dumps(self.relay)
        return super().__getstate__()

    @classmethod
    def class_name(cls) -> str:
        return "RelayLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """LlamaIndex's description of the relay: its name, its context window, and whether the student takes tools.

        Loads nothing. If no model reports a context window, it is LlamaIndex's default.

        ``num_output`` is the number of tokens that LlamaIndex reserves for the answer when it packs documents into the
        context: ``max_tokens``, but at most a quarter of the window.
        """
        relay = self._relay()
        by_tools = self.is_function_calling_model
        window = self.context_window or relay.context_length or DEFAULT_CONTEXT_WINDOW
        return LLMMetadata(
            context_window=window,
            num_output=min(self.max_tokens, window // 4),
            is_chat_model=True,
            is_function_calling_model=calls_tools(relay.student) if by_tools is None else by_tools,
            model_name=relay_name(relay.student.spec, None if relay.teacher is None else relay.teacher.spec),
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

    def _chat(self, messages: Sequence[ChatMessage], kwargs: Mapping[str, Any]) -> Request[ChatResponse]:
        return self._request(ChatReply, messages, kwargs)

    def _completion(self, prompt: str, formatted: bool, kwargs: Mapping[str, Any]) -> Request[CompletionResponse]:
        if not formatted and self.completion_to_prompt is not None:
            prompt = self.completion_to_prompt(prompt)
        return self._request(CompletionReply, [ChatMessage(role=MessageRole.USER, content=prompt)], kwargs)

    def _request(
        self, reply_class: type[Reply[R]], messages: Sequence[ChatMessage], kwargs: Mapping[str, Any]
    ) -> Request[R]:
        """Check the arguments of one request.

        Raises:
            ConfigurationError: a message, a tool or a setting cannot be used.
        """
        refuse_keys(kwargs)
        overrides = translated(kwargs)
        for role in ("student", "teacher"):
            if role in overrides:
                raise ConfigurationError(f"a single request cannot replace the {role}: build another RelayLLM")
        offered = offer(overrides.pop("tools", None), overrides.pop("tool_choice", None))
        parallel = overrides.pop("allow_parallel_tool_calls", True)
        holds_object = overrides.pop("holds_object", False)
        return Request(
            reply_class=reply_class,
            relay=self._relay(),
            messages=from_llamaindex(messages),
            settings=settings_of(self, overrides),
            offered=offered,
            parallel=parallel,
            holds_object=holds_object,
        )

    def _relay(self) -> Relay:
        """The relay that answers. Loads nothing."""
        if self.relay is not None:
            return self.relay
        return build_relay(
            self.student,
            self.teacher,
            api_keys={"student": self.student_api_key, "teacher": self.teacher_api_key},
            retries=self.max_retries,
        )

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
        """With ``tool_required``, or a ``tool_choice`` of ``"any"`` or a name, the answer begins with a tool call."""
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
        """The tool calls of an answer. While the answer streams, they hold the arguments that have arrived so far.

        Raises:
            NoToolCall: there is no valid tool call, and ``error_on_no_tool_call`` is true; the message describes the
                invalid tool calls. The error is a ``RelayError`` and a ``ValueError``.
        """
        blocks = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
        if not blocks and error_on_no_tool_call:
            invalid = response.message.additional_kwargs.get("invalid_tool_calls", ())
            raise no_tool_call(response.message.content or "", invalid)
        return [
            ToolSelection(
                tool_id=block.tool_call_id or "", tool_name=block.tool_name, tool_kwargs=_arguments_so_far(block)
            )
            for block in blocks
        ]

    # -- objects -------------------------------------------------------------------------------------------
    #
    # LlamaIndex's programs pass ``llm_kwargs`` on to the request. With ``holds_object``, an answer that a limit cut is
    # an error that names the limit. Otherwise, streaming programs end with its last partial object.

    def structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        predicted: Model = super().structured_predict(output_cls, prompt, _with_object(llm_kwargs), **prompt_args)
        return predicted

    async def astructured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        options = _with_object(llm_kwargs)
        predicted: Model = await super().astructured_predict(output_cls, prompt, options, **prompt_args)
        return predicted

    # LlamaIndex's programs require a tool call unless they stream. Here, streaming programs require it as well.

    def _structured_stream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Any, None, None]:
        program = self._streaming_program(output_cls, prompt)
        objects: Generator[Any, None, None] = program.stream_call(llm_kwargs=_with_object(llm_kwargs), **prompt_args)
        return objects

    async def _structured_astream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Any, None]:
        program = self._streaming_program(output_cls, prompt)
        objects: AsyncGenerator[Any, None] = await program.astream_call(
            llm_kwargs=_with_object(llm_kwargs), **prompt_args
        )
        return objects

    def _streaming_program(self, output_cls: type[Model], prompt: PromptTemplate) -> Any:
        from llama_index.core.program.utils import get_program_for_llm

        mode = self.pydantic_program_mode
        by_tool_call = mode is PydanticProgramMode.FUNCTION or (
            mode is PydanticProgramMode.DEFAULT and self.metadata.is_function_calling_model
        )
        options = {"tool_choice": "any"} if by_tool_call else {}
        return get_program_for_llm(output_cls, prompt, self, pydantic_program_mode=mode, **options)


def _with_object(llm_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    return {**(llm_kwargs or {}), "holds_object": True}


def _arguments_so_far(block: ToolCallBlock) -> dict[str, Any]:
    """A tool call's arguments; while they stream, the arguments that can already be read from their partial JSON."""
    if isinstance(block.tool_kwargs, dict):
        return block.tool_kwargs
    try:
        partial = parse_partial_json(block.tool_kwargs)
    except ValueError:
        return {}
    return partial if isinstance(partial, dict) else {}
