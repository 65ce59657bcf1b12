"""``ChatRelay``: a relay as a LangChain chat model. One call's arguments, messages, replies and structured output have
modules of their own.

One generator answers (:meth:`ChatRelay._answer`); invoke, stream and their async forms drive it, the sync ones from
the relay's background event loop, so that they work inside a running loop too.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, is_dataclass
from typing import Any, Literal, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.load.load import ALL_SERIALIZABLE_MAPPINGS
from langchain_core.load.serializable import SerializedConstructor, SerializedNotImplemented
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import BaseTool
from langchain_core.utils import secret_from_env
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr, model_validator

from langchain_relay.counting import count, tokenizer_of
from langchain_relay.errors import as_langchains
from langchain_relay.messages import to_prompt
from langchain_relay.replies import Delta, Reply
from langchain_relay.requests import Request, check_key, check_names, output_format, translated
from relay_core import portal
from relay_core.adapters.settings_fields import SETTINGS, SettingsFields
from relay_core.adapters.structured import constraining_engine, started, write_json
from relay_core.chat import encode_text
from relay_core.engines.base import Engine
from relay_core.engines.shared import shared_engine
from relay_core.errors import ConfigurationError
from relay_core.events import Finished, RelayResult, TextDelta
from relay_core.keys import KEY_VARIABLES, Role, refuse_keys
from relay_core.relay import Relay
from relay_core.settings import RelaySettings
from relay_core.tools import TOOL_CALL_CLOSE, offer


class ChatRelay(SettingsFields, BaseChatModel):
    """A small student model that writes, and a large teacher that it calls for the few tokens it cannot write.

    Args:
        student, teacher: a spec (``"bundled"``, ``"transformers:PATH_OR_ID"``, ``"vllm:…"``,
            ``"openai:MODEL@BASE_URL"``) or an engine; ``teacher=None`` refuses every call. ``model`` is another name
            for ``student``. Models load with the first answer, once per process and spec.
        relay: a :class:`~relay_core.Relay` to use instead; its settings are this model's defaults.
        teacher_api_key, student_api_key: for ``openai:`` specs; otherwise from ``RELAY_TEACHER_API_KEY`` or
            ``RELAY_STUDENT_API_KEY``, then ``OPENAI_API_KEY``. ``api_key`` is the teacher's.
        max_retries: for ``openai:`` specs, attempts after the first one.
        structured_by: the side that writes the JSON for ``method="json_schema"``.
        streaming: invoke by streaming, as LangChain's other models take it.

    Every setting of :class:`~relay_core.RelaySettings` can be given here, bound, configured, or passed per call.

    Raises:
        ConfigurationError: an unknown name, a bad value, a spec or a folder that cannot be used (while building, in
            pydantic's ``ValidationError``).

    Example:
        >>> from langchain_relay import ChatRelay
        >>> chat = ChatRelay(max_calls=3)                       # doctest: +SKIP
        >>> chat.invoke("What is 2 + 3?").usage_metadata        # doctest: +SKIP
    """

    student: Any = "bundled"
    teacher: Any = "bundled"
    relay: Relay | None = Field(default=None, exclude=True, repr=False)
    student_api_key: SecretStr | None = Field(default_factory=secret_from_env(KEY_VARIABLES["student"], default=None))
    teacher_api_key: SecretStr | None = Field(default_factory=secret_from_env(KEY_VARIABLES["teacher"], default=None))
    max_retries: int | None = None
    structured_by: Role = "student"
    streaming: bool = False

    stop: list[str] | None = None
    prices: dict[str, float | None] | None = None

    _identity: str = PrivateAttr(default_factory=lambda: uuid.uuid4().hex)

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    # -- building ------------------------------------------------------------------------------------------

    @model_validator(mode="before")
    @classmethod
    def _named(cls, values: Any) -> Any:
        """Take other models' names for things, and what a given relay says where nothing else does."""
        check_names(values, cls.model_fields)
        check_key(values)
        given = translated(values)
        relay = given.get("relay")
        if relay is not None:
            if not isinstance(relay, Relay):
                raise ConfigurationError(f"relay is a {type(relay).__name__}: write Relay(...)")
            engines = {"student": relay.student, "teacher": relay.teacher}
            for name in (*engines, "max_retries"):
                if given.get(name, engines.get(name)) is not engines.get(name):
                    raise ConfigurationError(f"relay= and {name}= are both given: the relay has it; write one of them")
            own = {name: getattr(relay.settings, name) for name in SETTINGS}
            given = {**engines, **own, **given}
        if is_dataclass(given.get("prices")):
            given["prices"] = asdict(given["prices"])
        if "stop" in given:
            given["stop"] = list(RelaySettings(stop=given["stop"]).stop) or None
        return given

    @model_validator(mode="after")
    def _checked(self) -> Self:
        self._settings({})
        self._relay({})
        return self

    def _settings(self, overrides: Mapping[str, Any]) -> RelaySettings:
        return RelaySettings(**{name: getattr(self, name) for name in SETTINGS}).merged(overrides)

    def _relay(self, engines: Mapping[str, Any]) -> Relay:
        """The relay to ask; ``engines`` replaces its student or teacher. Loads nothing."""
        if self.relay is not None and not engines:
            return self.relay
        return Relay(
            self._engine("student", engines.get("student", self.student)),
            None if (teacher := engines.get("teacher", self.teacher)) is None else self._engine("teacher", teacher),
        )

    def _engine(self, role: Role, engine: Any) -> Engine:
        if isinstance(engine, Engine):
            return engine
        key = self.student_api_key if role == "student" else self.teacher_api_key
        secret = None if key is None else key.get_secret_value()
        return shared_engine(engine, role=role, api_key=secret, retries=self.max_retries)

    # -- answering -----------------------------------------------------------------------------------------

    def _request(self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: Mapping[str, Any]) -> Request:
        """Check one call's arguments.

        Raises:
            ConfigurationError: an unknown argument, a bad value, or messages that are not supported.
        """
        refuse_keys(kwargs)
        given = translated({k: v for k, v in kwargs.items() if k not in ("stream", "strict")})
        if stop is not None:
            given["stop"] = stop
        tools, choice = given.pop("tools", None), given.pop("tool_choice", None)
        parallel = given.pop("parallel_tool_calls", None)
        response_format = given.pop("response_format", None)
        by = given.pop("structured_by", None) or self.structured_by
        relay = self._relay({role: given.pop(role) for role in ("student", "teacher") if role in given})
        settings = self._settings(given)
        offered = offer([convert_to_openai_tool(tool) for tool in tools or ()], choice)
        if offered.tools and parallel is False:
            settings = settings.merged(
                {"stop": (*settings.stop, TOOL_CALL_CLOSE)}
            )  # the first call's end ends the answer
        opening, schema = output_format(response_format, offered)
        if schema is not None:
            constraining_engine(relay, by)
        names = {"student": relay.student.spec, "teacher": "none" if relay.teacher is None else relay.teacher.spec}
        return Request(relay, to_prompt(messages), settings, offered, opening, schema, by, names)

    async def _answer(self, request: Request, reply: Reply) -> AsyncGenerator[Delta | RelayResult, None]:
        """What the reader sees, piece by piece; the result comes last."""
        shown = request.schema is None
        if not shown:
            await started(request.relay, request.structured_by)
        with as_langchains():
            async with aclosing(request.relay.astream(request.prompt, **request.options())) as events:
                async for event in events:
                    if isinstance(event, TextDelta | Finished):
                        for delta in reply.take(event) if isinstance(event, TextDelta) else reply.flush():
                            if shown or delta.call is not None:
                                yield delta
                    if isinstance(event, Finished):
                        answer = event.result
        if request.schema is None or reply.calls_tools:
            yield answer
            return
        reply.start_again()
        again = write_json(
            request.relay, request.prompt, answer, request.schema, by=request.structured_by, settings=request.settings
        )
        with as_langchains():
            async with aclosing(again):
                async for event in again:
                    if isinstance(event, TextDelta):
                        for delta in reply.take(event):
                            yield delta
                    elif isinstance(event, Finished):
                        yield event.result

    async def _whole(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: Mapping[str, Any]
    ) -> AIMessage:
        """The answer at once, for nobody listens."""
        request = self._request(messages, stop, kwargs)
        reply = request.reply(blocks=self.output_version == "v1")
        if request.schema is None:
            with as_langchains():
                result = await request.relay.agenerate(request.prompt, **request.options())
            reply.take_all(result)
        else:
            async with aclosing(self._answer(request, reply)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, RelayResult):
                        result = piece
        return reply.message(result, request.names)

    async def _tokens(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: Mapping[str, Any]
    ) -> AsyncGenerator[str | AIMessage, None]:
        """The answer's text as it comes, for callbacks; the message comes last."""
        request = self._request(messages, stop, kwargs)
        reply = request.reply(blocks=self.output_version == "v1")
        async with aclosing(self._answer(request, reply)) as pieces:
            async for piece in pieces:
                yield piece.text if isinstance(piece, Delta) else reply.message(piece, request.names)

    # -- LangChain's faces of it ---------------------------------------------------------------------------

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if run_manager is None or not self._heard(run_manager):
            message = await self._whole(messages, stop, kwargs)
        else:
            async with aclosing(self._tokens(messages, stop, kwargs)) as tokens:
                async for token in tokens:
                    if isinstance(token, AIMessage):
                        message = token
                    else:
                        await run_manager.on_llm_new_token(token)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if run_manager is None or not self._heard(run_manager):
            return portal.run(lambda: self._agenerate(messages, stop, None, **kwargs))
        for token in portal.iterate(lambda: self._tokens(messages, stop, kwargs)):  # callbacks in the caller's thread
            if isinstance(token, AIMessage):
                message = token
            else:
                run_manager.on_llm_new_token(token)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _heard(self, run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun) -> bool:
        return bool(run_manager.handlers) and self.disable_streaming is not True

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        """The answer in chunks, the last one with usage and report."""
        request = self._request(messages, stop, kwargs)
        reply = request.reply(blocks=self.output_version == "v1")
        async with aclosing(self._answer(request, reply)) as pieces:
            async for piece in pieces:
                yield piece.chunk() if isinstance(piece, Delta) else reply.last_chunk(piece, request.names)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        return portal.iterate(lambda: self._astream(messages, stop, **kwargs))

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """All at once: requests share the engines' batches instead of waiting for a thread each."""
        return portal.run(lambda: self.abatch(inputs, config, return_exceptions=return_exceptions, **kwargs))

    def bind(self, **kwargs: Any) -> Any:
        """As LangChain's; keys are refused, for a binding shows what it binds.

        Raises:
            ConfigurationError: a key.
        """
        refuse_keys(kwargs)
        return super().bind(**kwargs)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Offer tools.

        Args:
            tools: whatever LangChain can make a tool's schema of.
            tool_choice: ``"auto"``, ``"none"``, ``"any"`` (``"required"``, ``True``) or a tool's name; the answer is
                made to begin accordingly.
            strict: put into the schemas, for what reads them.
            kwargs: bound beside; ``parallel_tool_calls=False`` ends the answer after its first call.

        Raises:
            ValueError: LangChain's own, for what is no tool; ConfigurationError for a choice that is not among them.
        """
        schemas = [convert_to_openai_tool(tool, strict=strict) for tool in tools]
        offer(schemas, tool_choice)
        chosen = {} if tool_choice is None else {"tool_choice": tool_choice}
        refuse_keys(kwargs)
        return super().bind(tools=schemas, **chosen, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        method: Literal["function_calling", "json_mode", "json_schema"] = "function_calling",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Answers read into ``schema``: a pydantic class, a TypedDict or a JSON schema.

        Args:
            method: ``"function_calling"`` and ``"json_mode"`` work with every engine but an endpoint in mode ``chat``;
                ``"json_schema"`` needs one with constrained decoding on the side that ``structured_by`` names.
            include_raw: a dict of ``raw``, ``parsed`` and ``parsing_error`` instead of the parsed answer.
            kwargs: settings to bind, such as ``structured_by``.

        Raises:
            ConfigurationError: an unknown method; with ``"json_schema"`` on other engines, when it is asked.
        """
        from langchain_relay.structured import structured  # not before it is needed: it brings LangChain's parsers

        return structured(self, schema, method=method, include_raw=include_raw, strict=strict, asked=kwargs)

    # -- counting tokens -----------------------------------------------------------------------------------

    def get_token_ids(self, text: str) -> list[int]:
        """Ids of ``text`` in the student's own vocabulary.

        Raises:
            ConfigurationError: its tokenizer is not here (an endpoint without ``tokenizer=``).
        """
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        return encode_text(tokenizer_of(self._relay({}).student), text)

    def get_num_tokens_from_messages(
        self,
        messages: list[BaseMessage],
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool] | None = None,
    ) -> int:
        """Tokens of the prompt that the student reads, the template's own and the tools' among them.

        Raises:
            ConfigurationError: its tokenizer is not here (an endpoint without ``tokenizer=``).
        """
        if self.custom_get_token_ids is not None:
            return super().get_num_tokens_from_messages(messages, tools)
        schemas = [convert_to_openai_tool(tool) for tool in tools or ()]
        return count(tokenizer_of(self._relay({}).student), messages, schemas)

    # -- what it is called and how it is kept --------------------------------------------------------------

    @property
    def model_name(self) -> str:
        """The student's spec."""
        return _spec(self.student)

    def _resolve_model_profile(self) -> ModelProfile | None:
        """What agents' middleware asks of a model: its window, as far as is known without loading, and abilities."""
        relay = self._relay({})
        profile = ModelProfile(
            text_inputs=True,
            text_outputs=True,
            image_inputs=False,
            audio_inputs=False,
            pdf_inputs=False,
            video_inputs=False,
            tool_calling=True,
            tool_choice=relay.student.continues,
        )
        if (window := relay.context_length) is not None:
            profile["max_input_tokens"] = window
        return profile

    @property
    def _llm_type(self) -> str:
        return "relay"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in SETTINGS}
        return {"student": _spec(self.student), "teacher": _spec(self.teacher), **settings}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        given = translated(kwargs)
        params = LangSmithParams(
            ls_provider="relay",
            ls_model_type="chat",
            ls_model_name=_spec(given.get("student", self.student)),
            ls_temperature=given.get("temperature", self.temperature),
            ls_max_tokens=given.get("max_tokens", self.max_tokens),
        )
        stops = stop or given.get("stop") or self.stop
        if isinstance(stops, str | list | tuple):  # anything else is refused when the call is made
            params["ls_stop"] = [stops] if isinstance(stops, str) else list(stops)
        return params

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """What LangChain's caches tell models apart by; given engines are told apart by this very object."""
        if self._is_named:
            return super()._get_llm_string(stop=stop, **kwargs)
        return f"{self._identity}---{sorted({**self.asdict(), **kwargs, 'stop': stop}.items(), key=lambda i: i[0])}"

    @property
    def _is_named(self) -> bool:
        """Whether specs say all there is to know of its models."""
        given = (self.student, self.teacher)
        return self.relay is None and not any(isinstance(engine, Engine) for engine in given)

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Yes; but not one that was given engines or a relay."""
        return True

    @property
    def lc_secrets(self) -> dict[str, str]:
        """Where keys come from: none is ever written."""
        return {f"{role}_api_key": names[0] for role, names in KEY_VARIABLES.items()}

    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        """As LangChain writes its objects."""
        return super().to_json() if self._is_named else self.to_json_not_implemented()


def _spec(engine: Any) -> str:
    if isinstance(engine, Engine):
        return engine.spec
    return "none" if engine is None else str(engine)


# LangChain revives only classes that this list of its names, and only for those who ask for all of them.
_PATH = tuple(ChatRelay.lc_id())
ALL_SERIALIZABLE_MAPPINGS.setdefault(_PATH, _PATH)
