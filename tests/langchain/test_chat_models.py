from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.exceptions import ContextOverflowError
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import ConfigurableField
from pydantic import ValidationError

from langchain_relay import ChatRelay
from langchain_relay.replies import usage_metadata
from relay_core import (
    Chance,
    Chunk,
    ConfigurationError,
    EngineError,
    Prices,
    Prompt,
    Relay,
    RelayError,
    RelaySettings,
    Sampling,
    ScriptedEngine,
    TeacherUnavailable,
    Token,
    Usage,
)
from relay_core.engines.scripted import Delay
from relay_core.engines.shared import shared_engine
from relay_core.errors import ContextOverflow
from relay_core.tokenizer import Tokenizer

Make = Callable[..., ScriptedEngine]
TEXT = "47 * 6 = 282. Done."


@pytest.fixture
def pair(scripted: Make) -> dict[str, Any]:
    student = scripted(["47 * 6 = <call>3</call>", ". Done."], record=True)
    return {"student": student, "teacher": scripted("282", record=True)}


class Hearing(BaseCallbackHandler):
    def __init__(self) -> None:
        self.tokens: list[str] = []

    def on_llm_new_token(self, token: Any, **_: Any) -> None:
        self.tokens.append(token)


class HearingAsync(AsyncCallbackHandler):
    def __init__(self) -> None:
        self.tokens: list[str] = []

    async def on_llm_new_token(self, token: Any, **_: Any) -> None:
        self.tokens.append(token)


# -- the ways to ask


async def test_every_way_to_ask_gives_the_same_answer(pair: dict[str, Any]) -> None:
    model = ChatRelay(**pair)
    answers = [model.invoke("47 * 6?"), *model.batch(["47 * 6?"] * 2)]
    answers += [await model.ainvoke("47 * 6?"), *await model.abatch(["47 * 6?"] * 2)]
    assert [a.content for a in answers] == [TEXT] * 6
    assert "".join(c.text for c in model.stream("47 * 6?")) == TEXT
    assert "".join([c.text async for c in model.astream("47 * 6?")]) == TEXT


def test_a_batch_is_one_batch(scripted: Make) -> None:
    most = 0

    class Counting(ScriptedEngine):
        async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
            nonlocal most
            async for chunk in super().stream(prompt, sampling):
                most = max(most, self.active)
                yield chunk

    model = ChatRelay(student=Counting("one two three", scripted("").tokenizer), teacher=None)
    assert [m.content for m in model.batch([f"{i}" for i in range(40)])] == ["one two three"] * 40
    assert most == 40
    most = 0
    model.batch(["x"] * 10, config={"max_concurrency": 2})
    assert most == 2


def test_a_batch_may_return_its_errors(scripted: Make) -> None:
    def script(prompt: Prompt) -> Any:
        return [EngineError("lost")] if "bad" in prompt.text else "fine"

    model = ChatRelay(student=scripted(script), teacher=None)
    good, bad = model.batch(["good", "bad"], return_exceptions=True)
    assert good.content == "fine"
    assert isinstance(bad, EngineError)
    with pytest.raises(EngineError, match="lost"):
        model.batch(["good", "bad"])


async def test_events_of_a_chain(pair: dict[str, Any]) -> None:
    chain = ChatPromptTemplate.from_messages([("human", "{q}")]) | ChatRelay(**pair) | StrOutputParser()
    events = [e async for e in chain.astream_events({"q": "47 * 6?"}, version="v2")]
    texts = [e["data"]["chunk"].text for e in events if e["event"] == "on_chat_model_stream"]
    assert "".join(texts) == TEXT
    assert chain.invoke({"q": "47 * 6?"}) == TEXT
    (end,) = [e["data"]["output"] for e in events if e["event"] == "on_chat_model_end"]
    assert (end.text, end.usage_metadata) == (TEXT, ChatRelay(**pair).invoke("47 * 6?").usage_metadata)
    assert end.response_metadata["relay"]["calls"] == 1


@pytest.mark.parametrize("ask", ["invoke", "stream", "ainvoke", "astream"])
async def test_callbacks_hear_every_token(pair: dict[str, Any], ask: str) -> None:
    model, hearing, too = ChatRelay(**pair), Hearing(), HearingAsync()
    if ask == "astream":
        async for _ in model.astream("47 * 6?", config={"callbacks": [hearing, too]}):
            pass
        assert "".join(too.tokens) == TEXT
    elif ask == "ainvoke":
        await model.ainvoke("47 * 6?", config={"callbacks": [hearing, too]})
        assert "".join(too.tokens) == TEXT
    elif ask == "stream":
        list(model.stream("47 * 6?", config={"callbacks": [hearing]}))
    else:
        model.invoke("47 * 6?", config={"callbacks": [hearing]})
    assert "".join(hearing.tokens) == TEXT
    assert len(hearing.tokens) > 5


# -- what is reported of an answer


def test_usage_and_report(pair: dict[str, Any]) -> None:
    prices = Prices(student_input=1, student_output=2, teacher_input=30, teacher_output=60)
    message = ChatRelay(**pair, prices=prices).invoke("47 * 6?")
    relay, usage = message.response_metadata["relay"], message.usage_metadata
    assert usage is not None
    result = Relay(**pair, settings=RelaySettings(prices=prices)).generate("47 * 6?")
    assert relay["usage"] == result.usage.as_dict()
    assert (relay["call_ratio"], relay["calls"], relay["failures"]) == (result.usage.call_ratio, 1, [])
    assert result.cost is not None
    assert result.cost_teacher_alone is not None
    assert relay["cost"] == pytest.approx(result.cost)
    assert relay["saved"] == pytest.approx(result.cost_teacher_alone - result.cost)
    assert usage["output_tokens"] == result.usage.completion_tokens
    assert dict(usage["output_token_details"]) == {
        "student": result.usage.student_tokens,
        "command": result.usage.command_tokens,
        "teacher": result.usage.teacher_tokens,
    }
    assert usage["input_tokens"] == result.usage.prompt_tokens + result.usage.teacher_prompt_tokens
    assert sum(dict(usage["input_token_details"]).values()) == usage["input_tokens"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert [(message.text[s["start"] : s["end"]], s["author"]) for s in relay["spans"]] == [
        ("47 * 6 = ", "student"),
        ("282", "teacher"),
        (". Done.", "student"),
    ]
    assert message.response_metadata["finish_reason"] == "stop"
    assert (relay["student"], relay["teacher"]) == ("scripted", "scripted")


def test_what_came_from_a_cache_is_told_apart() -> None:
    with_cache = usage_metadata(Usage(prompt_tokens=10, teacher_prompt_tokens=30, teacher_cached_tokens=20))
    assert dict(with_cache["input_token_details"]) == {"student": 10, "teacher": 10, "cache_read": 20}
    without_cache = usage_metadata(Usage(teacher_prompt_tokens=30, teacher_cached_tokens=None))
    assert "cache_read" not in without_cache["input_token_details"]


def test_langchains_own_count_adds_up_over_answers(pair: dict[str, Any]) -> None:
    model = ChatRelay(**pair)
    with get_usage_metadata_callback() as counted:
        one = model.invoke("47 * 6?").usage_metadata
        list(model.stream("47 * 6?"))
    assert one is not None
    assert counted.usage_metadata["scripted + scripted"]["total_tokens"] == 2 * one["total_tokens"]


def test_without_prices_there_is_no_cost(pair: dict[str, Any]) -> None:
    relay = ChatRelay(**pair).invoke("47 * 6?").response_metadata["relay"]
    assert relay["cost"] is relay["saved"] is None


def test_the_reason_of_the_end_is_said_in_openais_words(pair: dict[str, Any]) -> None:
    model = ChatRelay(**pair)
    assert model.invoke("47 * 6?", max_tokens=2).response_metadata["finish_reason"] == "length"
    stopped = model.invoke("47 * 6?", stop=["="])
    assert (stopped.content, stopped.response_metadata["finish_reason"]) == ("47 * 6 ", "stop")
    assert stopped.response_metadata["relay"]["finish_reason"] == "stop_string"


def test_tracing_parameters(pair: dict[str, Any]) -> None:
    model = ChatRelay(**pair, temperature=0.5, max_tokens=7, stop="x")
    assert model._get_ls_params() == {
        "ls_provider": "relay",
        "ls_model_type": "chat",
        "ls_model_name": "scripted + scripted",
        "ls_temperature": 0.5,
        "ls_max_tokens": 7,
        "ls_stop": ["x"],
    }
    params = model._get_ls_params(stop=["y"], temperature=0, model="vllm:Q", max_completion_tokens=3)
    assert (params["ls_stop"], params["ls_temperature"], params["ls_model_name"], params["ls_max_tokens"]) == (
        ["y"],
        0,
        "vllm:Q",
        3,
    )


# -- settings


EVERY_SETTING: dict[str, Any] = {
    "max_tokens": 99,
    "max_calls": 3,
    "max_call_tokens": 5,
    "max_teacher_tokens": 20,
    "deadline_s": 60.0,
    "teacher_timeout_s": 30.0,
    "on_teacher_error": "raise",
    "on_teacher_stop": "continue",
    "calls": False,
    "temperature": 0.3,
    "top_p": 0.9,
    "top_k": 40,
    "seed": 7,
    "stop": ("x",),
    "teacher_temperature": 0.1,
    "teacher_top_p": 0.8,
    "teacher_top_k": 20,
    "prices": Prices(teacher_output=1),
    "warming": "off",
    "enable_thinking": True,
    "trigger": Chance(0.5, 3),
    "student_instructions": "Call where a number is due.",
}


class Recording(Relay):
    """Records the settings of its last answer."""

    settings_used: RelaySettings

    async def astream(self, prompt: Any, **options: Any) -> AsyncGenerator[Any, None]:
        self.settings_used = options["settings"]
        assert set(options) <= {"tools", "prefix", "constraint", "settings"}
        async for event in super().astream(prompt, **options):
            yield event


def test_there_is_a_field_for_every_setting() -> None:
    from dataclasses import fields

    assert set(EVERY_SETTING) == {f.name for f in fields(RelaySettings)} <= set(ChatRelay.model_fields)
    built = ChatRelay.model_construct()
    for f in fields(RelaySettings):
        default = getattr(RelaySettings(), f.name)
        default = str(default) if f.name == "trigger" else default  # a field holds its string
        assert (getattr(built, f.name) or None) == (default or None), f.name


@pytest.mark.parametrize("name", EVERY_SETTING)
def test_every_setting_can_be_given_bound_configured_or_passed(pair: dict[str, Any], name: str) -> None:
    value, override = EVERY_SETTING[name], {name: EVERY_SETTING[name]}
    relay = Recording(**pair)
    default = getattr(RelaySettings(), name)
    model = ChatRelay(relay=relay)
    configurable = model.configurable_fields(**{name: ConfigurableField(id="it")})
    ways: list[Callable[[], Any]] = [
        lambda: ChatRelay(relay=relay, **override).invoke("47 * 6?"),
        lambda: model.bind(**override).invoke("47 * 6?"),
        lambda: model.invoke("47 * 6?", **override),
        lambda: configurable.invoke("47 * 6?", config={"configurable": {"it": value}}),
        lambda: configurable.with_config(configurable={"it": value}).invoke("47 * 6?"),
    ]
    for ask in ways:
        ask()
        assert getattr(relay.settings_used, name) == value
        model.invoke("47 * 6?")
        assert getattr(relay.settings_used, name) == default


def test_usage_needs_no_asking_for() -> None:
    with pytest.raises(ValidationError, match="stream_usage: leave it out"):
        ChatRelay(stream_usage=True)


def test_a_base_url_belongs_into_the_spec() -> None:
    with pytest.raises(ValidationError, match="write student='openai:MODEL@URL'"):
        ChatRelay(model="m", base_url="http://localhost:1/v1")


def test_a_given_relays_settings_are_the_defaults(pair: dict[str, Any]) -> None:
    relay = Recording(**pair, settings=RelaySettings(max_calls=0, stop="Done", prices=Prices(teacher_output=1)))
    model = ChatRelay(relay=relay, max_tokens=50)
    assert model.invoke("47 * 6?").response_metadata["relay"]["usage"]["refused_calls"] == 1
    assert relay.settings_used == relay.settings.merged({"max_tokens": 50})
    changed = model.configurable_fields(max_tokens=ConfigurableField(id="it"))
    changed.invoke("47 * 6?", config={"configurable": {"it": 9}})
    assert relay.settings_used == relay.settings.merged({"max_tokens": 9})


def test_other_models_names_are_understood(pair: dict[str, Any]) -> None:
    model = ChatRelay(
        model=pair["student"], teacher=pair["teacher"], api_key="k", timeout=9, stop_sequences="x", temperature=None
    )
    assert (model.student, model.teacher_timeout_s, model.stop) == (pair["student"], 9, ["x"])
    assert model.teacher_api_key is not None
    assert (model.teacher_api_key.get_secret_value(), model.temperature) == ("k", 0.0)
    assert model.invoke("47 * 6?", max_completion_tokens=1).response_metadata["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_call": 3}, "did you mean max_calls"),
        ({"temprature": 1}, "did you mean temperature"),
        ({"temperature": -1}, "temperature is -1"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"stop": 3}, "stop is 3"),
        ({"prices": {"teacher": 1}}, "teacher"),
    ],
)
def test_a_bad_setting_is_refused_by_saying_what_to_write(
    pair: dict[str, Any], wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises((ValidationError, TypeError), match=message):
        ChatRelay(**pair, **wrong)
    model = ChatRelay(**pair)
    with pytest.raises((RelayError, TypeError), match=message.replace("temprature", "temperature")):
        model.invoke("hi", **wrong)


def test_one_thing_under_two_names_is_refused(pair: dict[str, Any]) -> None:
    for arguments in ({"teacher_timeout_s": 3, "timeout": 3}, {"timeout": 3, "teacher_timeout_s": 3}):
        with pytest.raises(ValidationError, match="timeout is another name for teacher_timeout_s"):
            ChatRelay(**pair, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", ["nonsense:", "openai:no-url", "bundled:nobody", "/no/such/folder"])
def test_a_spec_that_cannot_be_used_is_refused_while_building(spec: str) -> None:
    with pytest.raises(ValidationError, match=r"spec|bundled model|folder|no such"):
        ChatRelay(student=spec)


def test_a_relay_must_be_one() -> None:
    with pytest.raises(ValidationError, match="relay"):
        ChatRelay(relay="bundled")  # type: ignore[arg-type]


@pytest.mark.parametrize("beside", [{"student": "bundled"}, {"teacher": None}, {"max_retries": 1}])
def test_a_relay_has_its_engines_already(pair: dict[str, Any], beside: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=f"relay= and {next(iter(beside))}= are both given"):
        ChatRelay(relay=Relay(**pair), **beside)


@pytest.mark.parametrize("face", ["invoke", "ainvoke", "stream", "json_schema"])
async def test_a_prompt_too_long_is_langchains_error_too(tiny: Tokenizer, face: str) -> None:
    chat = ChatRelay(student=ScriptedEngine(["a"], tiny, context_length=8, constrains=True), teacher=None)
    ask: dict[str, Callable[[], Any]] = {
        "invoke": lambda: chat.invoke("hi " * 20),
        "stream": lambda: list(chat.stream("hi " * 20)),
        "json_schema": lambda: chat.with_structured_output({"title": "A"}, method="json_schema").invoke("hi " * 20),
    }
    with pytest.raises(ContextOverflowError) as caught:
        await chat.ainvoke("hi " * 20) if face == "ainvoke" else ask[face]()
    assert isinstance(caught.value, ContextOverflow)
    assert caught.value.role == "student"


# -- engines and keys


def test_the_same_spec_is_the_same_engine() -> None:
    one = shared_engine("openai:M@http://localhost:1/v1", role="teacher", api_key="k")
    assert shared_engine("openai:M@http://localhost:1/v1", role="teacher", api_key="k") is one
    assert shared_engine("openai:M@http://localhost:1/v1", role="teacher", api_key="other") is not one
    first = ChatRelay(student="openai:S@http://localhost:1/v1", teacher="openai:M@http://localhost:1/v1", api_key="k")
    again = ChatRelay(student="openai:S@http://localhost:1/v1", teacher="openai:M@http://localhost:1/v1", api_key="k")
    assert first._relay({}).student is again._relay({}).student
    assert first._relay({}).teacher is one


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, pair: dict[str, Any]) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "general")
    model = ChatRelay(**pair)
    assert model.teacher_api_key is not None
    assert model.student_api_key is not None
    assert model.teacher_api_key.get_secret_value() == model.student_api_key.get_secret_value() == "general"
    monkeypatch.setenv("RELAY_TEACHER_API_KEY", "teacher's")
    model = ChatRelay(**pair)
    assert model.teacher_api_key is not None
    assert model.teacher_api_key.get_secret_value() == "teacher's"


def test_no_secret_is_ever_written(pair: dict[str, Any]) -> None:
    specs = {"student": "openai:S@http://localhost:1/v1", "teacher": "openai:T@http://localhost:1/v1"}
    for engines in (specs, pair):
        model = ChatRelay(**engines, teacher_api_key="se-cret", student_api_key="se-cret")
        assert "se-cret" not in dumps(model) + repr(model) + str(model) + str(model.asdict())
        assert "se-cret" not in str(model._get_ls_params()) + model._get_llm_string()


def test_a_model_can_be_replaced_per_call(pair: dict[str, Any], scripted: Make) -> None:
    model = ChatRelay(**pair)
    assert model.invoke("47 * 6?", model=scripted("Other.")).content == "Other."
    assert model.invoke("47 * 6?", teacher=None).content == "47 * 6 = "
    assert model.invoke("47 * 6?", teacher=None).response_metadata["relay"]["teacher"] == "none"


# -- LangChain's wrappers


async def test_a_cached_answer_is_the_answer(pair: dict[str, Any]) -> None:
    model = ChatRelay(**pair, cache=InMemoryCache())
    first, again = await model.ainvoke("47 * 6?"), await model.ainvoke("47 * 6?")
    assert (again.content, again.response_metadata) == (first.content, first.response_metadata)
    assert "".join([chunk.text async for chunk in model.astream("47 * 6?")]) == TEXT  # a stream asks anew
    assert len(pair["teacher"].requests) == 2


def test_caching_tells_models_apart(scripted: Make) -> None:
    cache = InMemoryCache()
    one, other = (scripted(text, record=True) for text in ("one", "other"))
    first = ChatRelay(student=one, teacher=None, cache=cache)
    assert [first.invoke("hi").content for _ in range(2)] == ["one", "one"]
    assert len(one.requests) == 1
    assert ChatRelay(student=other, teacher=None, cache=cache).invoke("hi").content == "other"
    first.invoke("hi", max_tokens=3)
    assert len(one.requests) == 2
    named = {"student": "openai:S@http://localhost:1/v1", "teacher": None}
    assert ChatRelay(**named)._get_llm_string() == ChatRelay(**named)._get_llm_string()
    assert ChatRelay(**named)._get_llm_string() != ChatRelay(**named, max_tokens=3)._get_llm_string()


class Counting(BaseRateLimiter):
    """Counts those who ask for leave."""

    acquired = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        self.acquired += 1
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        return self.acquire()


def test_retry_fallback_and_rate_limit(scripted: Make) -> None:
    requests = 0

    def script(_: Prompt) -> Any:
        nonlocal requests
        requests += 1
        return [EngineError("busy")] if requests == 1 else "back"

    limiter = Counting()
    model = ChatRelay(student=scripted(script), teacher=None, rate_limiter=limiter)
    assert model.with_retry(wait_exponential_jitter=False).invoke("hi").content == "back"
    assert "".join(chunk.text for chunk in model.stream("hi")) == "back"
    assert limiter.acquired == requests == 3
    broken = ChatRelay(student=scripted([[EngineError("gone")]]), teacher=None)
    assert broken.with_fallbacks([model]).invoke("hi").content == "back"
    assert "".join(chunk.text for chunk in broken.with_fallbacks([model]).stream("hi")) == "back"


# -- a teacher that is down, a reader who leaves


def test_a_teacher_that_is_down_leaves_the_students_answer(scripted: Make) -> None:
    student = scripted(["47 * 6 = <call>3</call>", "about 280."])
    model = ChatRelay(student=student, teacher=scripted([[EngineError("connection refused")]]))
    message = model.invoke("47 * 6?")
    assert message.content == "47 * 6 = about 280."
    assert message.response_metadata["relay"]["failures"] == ["connection refused"]
    with pytest.raises(TeacherUnavailable, match="connection refused"):
        model.invoke("47 * 6?", on_teacher_error="raise")


class Endless(ScriptedEngine):
    """Writes until it is cancelled."""

    cancelled = False

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        try:
            while True:
                yield Chunk((Token(None, "word "),))
                await asyncio.sleep(0)
        finally:
            self.cancelled = True


def endless() -> Endless:
    return Endless("", None)


def test_a_dropped_stream_cancels_the_teacher(scripted: Make) -> None:
    teacher = endless()
    stream = ChatRelay(student=scripted(["Well: <call>999999</call>"]), teacher=teacher, max_tokens=10**6).stream("hi")
    for chunk in stream:
        if chunk.name == "teacher":
            break
    assert not teacher.cancelled
    stream.close()  # type: ignore[attr-defined]
    assert teacher.cancelled


@pytest.mark.parametrize("ask", ["invoke", "stream", "batch"])
def test_an_interrupt_cancels_the_teacher(scripted: Make, ctrl_c: Any, ask: str) -> None:
    teacher = scripted([[Delay(60)]], record=True)
    model = ChatRelay(student=scripted(["Well: <call>9</call>"]), teacher=teacher)
    ctrl_c(lambda: bool(teacher.requests))
    ways: dict[str, Callable[[], Any]] = {
        "invoke": lambda: model.invoke("hi"),
        "stream": lambda: list(model.stream("hi")),
        "batch": lambda: model.batch(["hi"]),
    }
    with pytest.raises(KeyboardInterrupt):
        ways[ask]()
    assert teacher.active == 0


@pytest.mark.parametrize("ask", ["ainvoke", "astream"])
async def test_a_cancelled_task_cancels_the_teacher(scripted: Make, ask: str) -> None:
    teacher, teacher_heard = endless(), asyncio.Event()

    class Hear(AsyncCallbackHandler):
        async def on_llm_new_token(self, token: Any, **_: Any) -> None:
            if token == "word ":
                teacher_heard.set()

    model = ChatRelay(student=scripted(["Well: <call>999999</call>"]), teacher=teacher, max_tokens=10**6)

    async def go() -> None:
        if ask == "ainvoke":
            await model.ainvoke("hi", config={"callbacks": [Hear()]})
        async for _ in model.astream("hi", config={"callbacks": [Hear()]}):
            pass

    task = asyncio.ensure_future(go())
    await teacher_heard.wait()
    assert not teacher.cancelled
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert teacher.cancelled


# -- what is asked


def test_the_models_own_template_renders_the_conversation(pair: dict[str, Any]) -> None:
    model = ChatRelay(**pair)
    model.invoke([("system", "Be brief."), HumanMessage("6 * 7?"), AIMessage("42"), ("human", "47 * 6?")])
    prompt, _ = pair["teacher"].requests[0]
    assert prompt.text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n6 * 7?<|im_end|>\n")
    assert prompt.text.endswith("47 * 6 = ")


def test_an_empty_prompt_is_refused(pair: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="empty"):
        ChatRelay(**pair).invoke("")


def test_a_message_survives_pickling(pair: dict[str, Any]) -> None:
    message = ChatRelay(**pair).invoke("47 * 6?")
    assert pickle.loads(pickle.dumps(message)) == message


@pytest.mark.parametrize("ask", ["invoke", "stream"])
def test_settings_are_built_once_a_call(pair: dict[str, Any], monkeypatch: pytest.MonkeyPatch, ask: str) -> None:
    models = [ChatRelay(**pair), ChatRelay(relay=Relay(**pair))]
    built: list[RelaySettings] = []
    check = RelaySettings.__post_init__
    monkeypatch.setattr(RelaySettings, "__post_init__", lambda self: (built.append(self), check(self))[1])
    for model in models:
        built.clear()
        model.invoke("47 * 6?", max_tokens=9) if ask == "invoke" else list(model.stream("47 * 6?", max_tokens=9))
        assert [settings.max_tokens for settings in built] == [9]
