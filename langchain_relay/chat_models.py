"""``ChatRelay``: a relay as a LangChain chat model. This package's ``__init__`` lists the other modules.

Each invocation of the model becomes a :class:`~langchain_relay.requests.Request`, which answers asynchronously. The
blocking methods run the request on the relay's background event loop, so that they also work inside a running event
loop.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
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
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr, field_serializer, model_validator

from langchain_relay.arguments import constructor_arguments, secret_from_environment
from langchain_relay.counting import count, tokenizer_of
from langchain_relay.messages import to_prompt
from langchain_relay.profiles import model_profile
from langchain_relay.requests import Request, output_format
from relay_core import portal
from relay_core.adapters.arguments import translated
from relay_core.adapters.build_relay import build_relay
from relay_core.adapters.identity import relay_name
from relay_core.adapters.pickling import PickledWithoutKeys
from relay_core.adapters.settings_fields import SETTINGS, SettingsFields, settings_of
from relay_core.adapters.structured import constraining_engine
from relay_core.chat import encode_text
from relay_core.engines.base import Engine
from relay_core.keys import KEY_VARIABLES, Role, refuse_keys
from relay_core.relay import Relay
from relay_core.tools import TOOL_CALL_CLOSE, offer


class ChatRelay(PickledWithoutKeys, SettingsFields, BaseChatModel):
    """A small student model that writes, and a large teacher model that it calls for a few tokens.

    Args:
        student, teacher: an engine or a spec (``"bundled"``, ``"transformers:PATH_OR_ID"``, ``"vllm:PATH_OR_ID"``,
            ``"openai:MODEL@BASE_URL"``). With ``teacher=None``, every call is refused. ``model`` is an alias of
            ``student``. A model loads with the first answer, once per process and spec.
        relay: a :class:`~relay_core.Relay` to use instead of ``student`` and ``teacher``; its settings are the
            defaults.
        teacher_api_key, student_api_key: the API keys for ``openai:`` specs; by default the value of
            ``RELAY_TEACHER_API_KEY`` or ``RELAY_STUDENT_API_KEY``, else of ``OPENAI_API_KEY``. ``api_key`` is an alias
            of ``teacher_api_key``.
        max_retries: for ``openai:`` specs, the most attempts after the first one.
        structured_by: ``"student"`` or ``"teacher"``, the model that writes the JSON for ``method="json_schema"``.
        streaming: whether ``invoke`` streams, as in LangChain's other models.

    Every setting of :class:`~relay_core.RelaySettings` can be passed to the constructor, bound, configured, or passed
    to a single invocation.

    Raises:
        ConfigurationError: an argument is unknown or has an invalid value, or a spec or a folder cannot be used. The
            constructor raises it inside pydantic's ``ValidationError``.

    Example:
        >>> from langchain_relay import ChatRelay
        >>> chat = ChatRelay(max_calls=3)                       # doctest: +SKIP
        >>> chat.invoke("What is 2 + 3?").usage_metadata        # doctest: +SKIP
    """

    student: Any = "bundled"
    teacher: Any = "bundled"
    relay: Relay | None = Field(default=None, exclude=True, repr=False)
    student_api_key: SecretStr | None = Field(default_factory=lambda: secret_from_environment("student"))
    teacher_api_key: SecretStr | None = Field(default_factory=lambda: secret_from_environment("teacher"))
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
    def _under_our_names(cls, values: Any) -> Any:
        """Translate aliases, and take the defaults from ``relay=`` if it is given."""
        return constructor_arguments(values, cls.model_fields)

    @model_validator(mode="after")
    def _checked(self) -> Self:
        settings_of(self, {})
        self._relay({})
        return self

    def _relay(self, engines: Mapping[str, Any]) -> Relay:
        """The relay that answers; ``engines`` replaces its student or teacher. Loads nothing."""
        if self.relay is not None and not engines:
            return self.relay
        return build_relay(
            engines.get("student", self.student),
            engines.get("teacher", self.teacher),
            api_keys={"student": self.student_api_key, "teacher": self.teacher_api_key},
            retries=self.max_retries,
        )

    @field_serializer("student", "teacher", when_used="json")
    def _engine_as_spec(self, engine: Any) -> str | None:
        return engine.spec if isinstance(engine, Engine) else engine

    # -- answering -----------------------------------------------------------------------------------------

    def _request(self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: Mapping[str, Any]) -> Request:
        """Check the arguments of one invocation.

        Raises:
            ConfigurationError: an argument is unknown or has an invalid value, or a message is not supported.
        """
        refuse_keys(kwargs)
        arguments = translated({name: value for name, value in kwargs.items() if name not in ("stream", "strict")})
        if stop is not None:
            arguments["stop"] = stop
        tools, choice = arguments.pop("tools", None), arguments.pop("tool_choice", None)
        is_parallel = arguments.pop("parallel_tool_calls", None) is not False
        response_format = arguments.pop("response_format", None)
        structured_by = arguments.pop("structured_by", None) or self.structured_by
        relay = self._relay({role: arguments.pop(role) for role in ("student", "teacher") if role in arguments})
        settings = settings_of(self, arguments)
        offered = offer([convert_to_openai_tool(tool) for tool in tools or ()], choice)
        if offered.tools and not is_parallel:  # the answer then ends after its first tool call
            settings = settings.merged({"stop": (*settings.stop, TOOL_CALL_CLOSE)})
        opening, schema = output_format(response_format, offered)
        if schema is not None:
            constraining_engine(relay, structured_by)
        return Request(
            relay=relay,
            messages=to_prompt(messages),
            settings=settings,
            offered=offered,
            opening=opening,
            schema=schema,
            structured_by=structured_by,
            numbered_blocks=self.output_version == "v1",
        )

    # -- LangChain's methods -------------------------------------------------------------------------------

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        request = self._request(messages, stop, kwargs)
        if run_manager is None or not self._streams_to(run_manager):
            message = await request.message()
        else:
            async with aclosing(request.tokens()) as tokens:
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
        if run_manager is None or not self._streams_to(run_manager):
            return portal.run(lambda: self._agenerate(messages, stop, None, **kwargs))
        # run the callbacks in the caller's thread
        for token in portal.iterate(lambda: self._request(messages, stop, kwargs).tokens()):
            if isinstance(token, AIMessage):
                message = token
            else:
                run_manager.on_llm_new_token(token)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _streams_to(self, run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun) -> bool:
        return bool(run_manager.handlers) and self.disable_streaming is not True

    def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        return self._request(messages, stop, kwargs).chunks()

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
        """Answer all inputs concurrently, in the batches of the engines instead of in one thread per input."""
        return portal.run(lambda: self.abatch(inputs, config, return_exceptions=return_exceptions, **kwargs))

    def bind(self, **kwargs: Any) -> Any:
        """Bind arguments, as in LangChain's other models.

        Raises:
            ConfigurationError: an argument is an API key, which would show up in logs and traces if it were bound.
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
            tools: tools in any form that LangChain can convert to a schema.
            tool_choice: ``"auto"``, ``"none"``, ``"any"`` (also ``"required"`` or ``True``) or the name of a tool.
                ``"any"`` or a name forces the answer to begin with a tool call.
            strict: with ``True``, a forced tool call is refused if the engine cannot hold it to the whole schema;
                otherwise it is held to the keywords that the engine knows.
            kwargs: further arguments to bind. ``parallel_tool_calls=False`` ends the answer after its first tool call.

        Raises:
            ValueError: LangChain cannot convert a tool.
            ConfigurationError: ``tool_choice`` names a tool that is not on offer, or an argument is an API key.
        """
        schemas = [convert_to_openai_tool(tool, strict=strict) for tool in tools]
        offer(schemas, tool_choice)
        choice = {} if tool_choice is None else {"tool_choice": tool_choice}
        refuse_keys(kwargs)
        return super().bind(tools=schemas, **choice, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        method: Literal["function_calling", "json_mode", "json_schema"] = "function_calling",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """This model with its answers parsed into ``schema``.

        Args:
            schema: a pydantic class, a TypedDict or a JSON schema.
            method: ``"function_calling"`` and ``"json_mode"`` work with every engine except an endpoint in mode
                ``chat``; ``"json_schema"`` needs an engine with constrained decoding for the model that
                ``structured_by`` names.
            include_raw: return a dict with ``raw``, ``parsed`` and ``parsing_error`` instead of the parsed answer.
            strict: as for :meth:`bind_tools`; ``"json_schema"`` always refuses a schema that the engine cannot take.
            kwargs: arguments to bind, such as ``structured_by``.

        Raises:
            ConfigurationError: the method is unknown or needs a schema. With ``"json_schema"``, an engine that cannot
                decode under a schema raises this error later, when the model is invoked.
        """
        from langchain_relay.structured import structured  # imported late, because it loads LangChain's parsers

        return structured(self, schema, method=method, include_raw=include_raw, strict=strict, bound=kwargs)

    # -- counting tokens -----------------------------------------------------------------------------------

    def get_token_ids(self, text: str) -> list[int]:
        """The ids of ``text`` in the student's vocabulary.

        Raises:
            ConfigurationError: the student is an endpoint without ``tokenizer=``, so its tokenizer is not available.
        """
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        return encode_text(tokenizer_of(self._relay({}).student), text)

    def get_num_tokens_from_messages(
        self,
        messages: list[BaseMessage],
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool] | None = None,
    ) -> int:
        """The number of tokens of the student's prompt, including those of the chat template and the tools.

        Raises:
            ConfigurationError: the student is an endpoint without ``tokenizer=``, so its tokenizer is not available.
        """
        if self.custom_get_token_ids is not None:
            return super().get_num_tokens_from_messages(messages, tools)
        schemas = [convert_to_openai_tool(tool) for tool in tools or ()]
        return count(tokenizer_of(self._relay({}).student), messages, schemas)

    # -- identity and serialisation ------------------------------------------------------------------------

    @property
    def model_name(self) -> str:
        """The student's spec."""
        return _spec(self.student)

    def _resolve_model_profile(self) -> ModelProfile | None:
        return model_profile(self._relay({}))

    @property
    def _llm_type(self) -> str:
        return "relay"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in SETTINGS}
        return {"student": _spec(self.student), "teacher": _spec(self.teacher), **settings}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        arguments = translated(kwargs)
        student, teacher = arguments.get("student", self.student), arguments.get("teacher", self.teacher)
        if "student" in arguments:  # if an invocation replaces the model, LangChain expects its name unchanged
            teacher = None
        params = LangSmithParams(
            ls_provider="relay",
            ls_model_type="chat",
            ls_model_name=relay_name(_spec(student), None if teacher is None else _spec(teacher)),
            ls_temperature=arguments.get("temperature", self.temperature),
            ls_max_tokens=arguments.get("max_tokens", self.max_tokens),
        )
        stops = stop or arguments.get("stop") or self.stop
        if isinstance(stops, str | list | tuple):  # the request itself refuses a value of any other type
            params["ls_stop"] = [stops] if isinstance(stops, str) else list(stops)
        return params

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """The key of this model in LangChain's caches; a model that holds engines or a relay has a unique key."""
        if self._is_named:
            return super()._get_llm_string(stop=stop, **kwargs)
        return f"{self._identity}---{sorted({**self.asdict(), **kwargs, 'stop': stop}.items(), key=lambda i: i[0])}"

    @property
    def _is_named(self) -> bool:
        """Whether specs alone determine the models."""
        return self.relay is None and not any(isinstance(engine, Engine) for engine in (self.student, self.teacher))

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """``True``, although :meth:`to_json` cannot serialise models that hold engines or a relay."""
        return True

    @property
    def lc_secrets(self) -> dict[str, str]:
        """The environment variables of the API keys; LangChain serialises these names instead of the keys."""
        return {f"{role}_api_key": names[0] for role, names in KEY_VARIABLES.items()}

    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        """LangChain's serialised form; a model that holds engines or a relay cannot be serialised."""
        return super().to_json() if self._is_named else self.to_json_not_implemented()


def _spec(engine: Any) -> str:
    if isinstance(engine, Engine):
        return engine.spec
    return "none" if engine is None else str(engine)


# LangChain's load() revives only classes in this table.
_PATH = tuple(ChatRelay.lc_id())
ALL_SERIALIZABLE_MAPPINGS.setdefault(_PATH, _PATH)
