"""RelayLLM as LlamaIndex meets it: answers, settings, metadata, serialisation, callbacks."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import pickle
from collections.abc import AsyncIterator
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler, TokenCountingHandler
from llama_index.core.prompts import PromptTemplate

from llamaindex_relay import RelayLLM
from relay_core import EngineError, Prices, Relay, RelaySettings, ScriptedEngine, TeacherUnavailable
from relay_core.engines import shared
from relay_core.engines.scripted import Delay
from relay_core.errors import ConfigurationError
from relay_core.tokenizer import Tokenizer

ASKED = [ChatMessage(content="47 * 6?")]
TEXT = "47 * 6 = 282. Done."
PRICES = {"student_input": 1.0, "student_output": 2.0, "teacher_input": 10.0, "teacher_output": 20.0}


@pytest.fixture
async def released() -> AsyncIterator[None]:
    """No engine of this test stays in the process."""
    yield
    await shared.release()


# -- answers -------------------------------------------------------------------------------------------------------


async def test_every_way_of_asking_gives_the_same_answer(llm: RelayLLM) -> None:
    prompt = "47 * 6?"
    chats = [llm.chat(ASKED), await llm.achat(ASKED), list(llm.stream_chat(ASKED))[-1]]
    chats.append([r async for r in await llm.astream_chat(ASKED)][-1])
    completions = [llm.complete(prompt), await llm.acomplete(prompt), list(llm.stream_complete(prompt))[-1]]
    completions.append([r async for r in await llm.astream_complete(prompt)][-1])
    assert [r.message.content for r in chats] == [TEXT] * 4
    assert [r.text for r in completions] == [TEXT] * 4
    assert all(r.raw == chats[0].raw and r.additional_kwargs == chats[0].additional_kwargs for r in chats + completions)


def test_predict_and_stream_go_through_the_chat_template(llm: RelayLLM) -> None:
    assert llm.predict(PromptTemplate("{a} * 6?"), a=47) == TEXT
    assert "".join(llm.stream(PromptTemplate("{a} * 6?"), a=47)) == TEXT
    prompt, _ = llm.relay.student.requests[0]  # type: ignore[union-attr]
    assert prompt.text == "<|im_start|>user\n47 * 6?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


def test_an_answer_says_what_it_used_and_who_wrote_what(make_llm: Any) -> None:
    llm = make_llm(["47 * 6 = <call>3</call>", ". Done."], prices=PRICES)
    response = llm.chat(ASKED)
    relay, usage = response.raw["relay"], response.raw["relay"]["usage"]
    authors = [(s["author"], TEXT[s["start"] : s["end"]]) for s in relay["spans"]]
    assert authors == [("student", "47 * 6 = "), ("teacher", "282"), ("student", ". Done.")]
    assert usage["teacher_tokens"] == 3
    assert usage["calls"] == relay["calls"] == 1
    assert response.additional_kwargs["completion_tokens"] == sum(
        usage[f"{author}_tokens"] for author in ("student", "command", "teacher")
    )
    assert relay["call_ratio"] == usage["call_ratio"] > 0
    assert relay["failures"] == []
    assert relay["cost"] > 0
    assert relay["finish_reason"] == "stop"
    assert relay["saved"] == pytest.approx(
        llm.relay.generate("47 * 6?", prices=Prices(**PRICES)).cost_teacher_alone - relay["cost"]
    )


def test_completion_to_prompt_is_honoured(make_llm: Any) -> None:
    llm = make_llm("Yes.", completion_to_prompt=lambda prompt: f"Be short. {prompt}")
    llm.complete("Well?")
    llm.complete("As it is.", formatted=True)
    texts = [prompt.messages[0]["content"] for prompt, _ in llm.relay.student.requests]
    assert texts == ["Be short. Well?", "As it is."]


async def test_many_at_once_do_not_wait_for_each_other(make_llm: Any) -> None:
    llm = make_llm(["47 * 6 = <call>3</call>", ". Done."], engine={"delay_s": 0.01})
    alone = await _timed(llm.achat(ASKED))
    together = await _timed(asyncio.gather(*(llm.achat(ASKED) for _ in range(32))))
    assert together < 16 * alone


async def _timed(what: Any) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await what
    return loop.time() - began


# -- a teacher that fails, a reader that leaves --------------------------------------------------------------------


def test_a_teacher_that_is_down_leaves_the_students_answer(make_llm: Any) -> None:
    student = ["47 * 6 is <call>3</call>", "more than 200."]
    response = make_llm(student, [[EngineError("it is down")]]).complete("47 * 6?")
    assert response.text == "47 * 6 is more than 200."
    assert response.raw["relay"]["failures"] == ["it is down"]
    with pytest.raises(TeacherUnavailable, match="it is down"):
        make_llm(student, [[EngineError("it is down")]], on_teacher_error="raise").complete("47 * 6?")


async def test_a_dropped_stream_cancels_the_teachers_request(make_llm: Any) -> None:
    llm = make_llm(["47 * 6 = <call>9</call>"], [["2", Delay(60)]])
    teacher = llm.relay.teacher
    stream = await llm.astream_chat(ASKED)
    async for response in stream:
        if response.additional_kwargs["relay"]["author"] == "teacher":
            break
    assert teacher.active == 1
    await stream.aclose()
    for _ in range(10):
        await asyncio.sleep(0)
    assert teacher.active == 0


def test_a_dropped_blocking_stream_cancels_it_too(make_llm: Any) -> None:
    llm = make_llm(["47 * 6 = <call>9</call>"], [["2", Delay(60)]])
    stream = llm.stream_complete("47 * 6?")
    while next(stream).additional_kwargs["relay"]["author"] != "teacher":
        pass
    assert llm.relay.teacher.active == 1
    stream.close()
    del stream
    gc.collect()
    assert llm.relay.teacher.active == 0


@pytest.mark.parametrize("ask", ["chat", "stream_complete"])
def test_an_interrupt_cancels_the_teachers_request(make_llm: Any, ctrl_c: Any, ask: str) -> None:
    llm = make_llm(["47 * 6 = <call>9</call>"], [[Delay(60)]])
    teacher = llm.relay.teacher
    ctrl_c(lambda: bool(teacher.requests))
    with pytest.raises(KeyboardInterrupt):
        llm.chat(ASKED) if ask == "chat" else list(llm.stream_complete("47 * 6?"))
    assert teacher.active == 0


async def test_a_cancelled_chat_cancels_the_teachers_request(make_llm: Any) -> None:
    llm = make_llm(["<call>9</call>"], [[Delay(60)]])
    task = asyncio.create_task(llm.achat(ASKED))
    while not llm.relay.teacher.active:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert llm.relay.teacher.active == 0


# -- settings ------------------------------------------------------------------------------------------------------


def test_every_setting_of_the_relay_is_one_of_the_llm() -> None:
    for field in dataclasses.fields(RelaySettings):
        default = str(field.default) if field.name == "trigger" else field.default  # a field holds its string
        assert RelayLLM.model_fields[field.name].default == default, field.name


def test_settings_count_for_the_llm_and_for_one_call(make_llm: Any) -> None:
    llm = make_llm("47 is the answer.", temperature=0.5, max_tokens=9)
    requests = llm.relay.student.requests
    llm.complete("?")
    assert llm.complete("?", temperature=0.25, stop=" the").text == "47 is"
    llm.temperature = 0.75
    llm.chat(ASKED, max_tokens=2)
    assert [(s.temperature, s.max_tokens) for _, s in requests] == [(0.5, 9), (0.25, 9), (0.75, 2)]


def test_settings_are_built_once_a_call(llm: RelayLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[RelaySettings] = []
    check = RelaySettings.__post_init__
    monkeypatch.setattr(RelaySettings, "__post_init__", lambda self: (built.append(self), check(self))[1])
    llm.chat(ASKED, max_tokens=9)
    list(llm.stream_chat(ASKED, max_tokens=9))
    assert [settings.max_tokens for settings in built] == [9, 9]


def test_a_relays_own_settings_stand_unless_replaced(qwen3: Tokenizer) -> None:
    relay = Relay(ScriptedEngine("a", qwen3), None, RelaySettings(temperature=0.5, max_calls=2))
    llm = RelayLLM(relay=relay, max_calls=3)
    assert (llm.temperature, llm.max_calls, llm.teacher) == (0.5, 3, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temprature": 1.0}, "did you mean temperature"),
        ({"model": "./no-such-folder"}, "no-such-folder"),
        ({"max_retries": -2, "teacher": "openai:m@http://localhost:1/v1"}, "retries is -2"),
        ({"student": "./no-such-folder"}, "no-such-folder"),
        ({"student": ScriptedEngine("a")}, r"student is an engine: write relay=Relay\("),
        ({"api_base": "http://localhost:1/v1"}, "write student='openai:MODEL@URL'"),
        ({"temperature": -1}, "temperature is -1"),
        ({"max_tokens": "many"}, "max_tokens is 'many'"),
        ({"prices": {"teacher_input": -1}}, "Prices.teacher_input is -1"),
        ({"relay": "bundled"}, "relay is a str"),
    ],
)
def test_bad_arguments_say_what_to_write(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RelayLLM(**arguments)


@pytest.mark.parametrize("beside", [{"teacher": "bundled"}, {"max_retries": 1}])
def test_a_relay_has_its_engines_already(qwen3: Tokenizer, beside: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"{next(iter(beside))}= are both given"):
        RelayLLM(relay=Relay(ScriptedEngine("a", qwen3), None), **beside)


def test_none_is_not_given_where_a_setting_cannot_be_none(make_llm: Any) -> None:
    llm = make_llm("47", temperature=None, max_tokens=None, seed=None)
    assert (llm.temperature, llm.max_tokens, llm.seed) == (0.0, RelaySettings().max_tokens, None)
    assert llm.complete("?", temperature=None, max_tokens=None).text == "47"
    with pytest.raises(ConfigurationError, match="did you mean temperature"):
        RelayLLM(temprature=None)


def test_retries_are_the_endpoints() -> None:
    llm = RelayLLM(teacher="openai:m@http://localhost:1/v1", max_retries=1)
    assert llm._relay().teacher.patience.retries == 1  # type: ignore[union-attr]
    assert RelayLLM.from_dict(llm.to_dict()).max_retries == 1


def test_bad_arguments_of_a_call_are_refused_before_anything_runs(llm: RelayLLM) -> None:
    for call in (llm.chat, llm.stream_chat):
        with pytest.raises(ConfigurationError, match="did you mean max_tokens"):
            call(ASKED, max_token=3)
    with pytest.raises(ConfigurationError, match="the prompt is empty"):
        llm.complete("")


# -- models --------------------------------------------------------------------------------------------------------


def test_metadata_is_the_models_own(make_llm: Any, qwen3: Tokenizer) -> None:
    llm = make_llm("a", engine={"context_length": 800}, max_tokens=150)
    metadata = llm.metadata
    assert (metadata.context_window, metadata.num_output) == (800, 150)
    assert metadata.is_chat_model
    assert metadata.is_function_calling_model
    assert metadata.model_name == "scripted + scripted"
    small = RelayLLM(relay=Relay(ScriptedEngine("a", qwen3, context_length=400), ScriptedEngine("a", qwen3)))
    assert (small.metadata.context_window, small.metadata.num_output) == (400, 100)
    assert RelayLLM(relay=small.relay, context_window=200).metadata.context_window == 200


def test_a_bundled_student_calls_no_tools_unless_it_is_said_to(make_llm: Any) -> None:
    assert not RelayLLM().metadata.is_function_calling_model
    assert RelayLLM(is_function_calling_model=True).metadata.is_function_calling_model
    assert not make_llm("a", is_function_calling_model=False).metadata.is_function_calling_model
    assert RelayLLM.from_json(RelayLLM().to_json()).is_function_calling_model is None


async def test_models_are_shared_and_building_loads_none(released: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_TEACHER_API_KEY", "key-from-env")
    specs = {"student": "openai:small@http://localhost:1/v1", "teacher": "openai:large@http://localhost:1/v1"}
    first, second = RelayLLM(**specs), RelayLLM(**specs, temperature=0.5)
    assert first._relay().student is second._relay().student
    assert first._relay().teacher is second._relay().teacher
    other = RelayLLM(**specs, teacher_api_key="another")
    assert other._relay().teacher is not first._relay().teacher
    assert RelayLLM(student=specs["student"], teacher=None)._relay().teacher is None
    assert "small" in first.metadata.model_name
    assert "large" in first.metadata.model_name


# -- serialisation -------------------------------------------------------------------------------------------------


async def test_it_comes_back_from_json_without_secrets(released: None) -> None:
    llm = RelayLLM(
        student="openai:small@http://h/v1",
        teacher_api_key="s3cret",
        student_api_key="s3cret",
        temperature=0.5,
        stop=["\n\n"],
        prices=Prices(**PRICES),
    )
    assert not any("s3cret" in text for text in (llm.to_json(), repr(llm), str(llm), str(llm.to_payload())))
    back = RelayLLM.from_json(llm.to_json())
    assert back.to_dict() == llm.to_dict()
    assert (back.student, back.temperature, back.stop, back.prices) == (llm.student, 0.5, ("\n\n",), Prices(**PRICES))
    assert back.to_dict()["class_name"] == RelayLLM.class_name() == "RelayLLM"


def test_it_can_be_pickled_and_copied(llm: RelayLLM) -> None:
    built = RelayLLM(teacher="openai:large@http://h/v1", max_calls=2)
    for twin in (pickle.loads(pickle.dumps(built)), built.model_copy(), built.model_copy(deep=True)):
        assert twin.to_dict() == built.to_dict()
    assert llm.model_copy(update={"max_tokens": 5}).complete("47 * 6?").text == "47 * 6"


# -- what LlamaIndex is told ---------------------------------------------------------------------------------------


def test_events_are_those_of_any_llm(llm: RelayLLM, events: list[Any]) -> None:
    list(llm.stream_chat(ASKED))
    llm.complete("47 * 6?")
    names = [event.class_name() for event in events]
    assert names[0] == "LLMChatStartEvent"
    assert names.index("LLMChatEndEvent") < names.index("LLMCompletionStartEvent")
    progress = [event for event in events if event.class_name() == "LLMChatInProgressEvent"]
    assert "".join(event.response.delta for event in progress) == TEXT
    end = next(event for event in events if event.class_name() == "LLMChatEndEvent")
    assert end.response.message.content == TEXT
    assert end.response.raw["relay"]["calls"] == 1
    assert events[-1].class_name() == "LLMCompletionEndEvent"
    assert events[-1].response.text == TEXT


def test_callbacks_see_start_and_end_and_count_the_relays_tokens(llm: RelayLLM) -> None:
    debug, counter = LlamaDebugHandler(print_trace_on_end=False), TokenCountingHandler(tokenizer=str.split)
    llm.callback_manager = CallbackManager([debug, counter])
    usage = llm.chat(ASKED).raw["usage"]
    list(llm.stream_chat(ASKED))
    assert len(debug.get_event_pairs(CBEventType.LLM)) == 2
    assert counter.prompt_llm_token_count == 2 * usage["prompt_tokens"]
    assert counter.completion_llm_token_count == 2 * usage["completion_tokens"]


def test_what_is_told_holds_no_key(make_llm: Any, events: list[Any]) -> None:
    llm = make_llm("Yes.", teacher_api_key="s3cret", student_api_key="s3cret")
    debug = LlamaDebugHandler(print_trace_on_end=False)
    llm.callback_manager = CallbackManager([debug])
    llm.complete("Well?")
    assert events
    assert "s3cret" not in repr(events)
    assert "s3cret" not in repr([event.payload for pair in debug.get_event_pairs() for event in pair])


def test_errors_reach_the_callbacks(make_llm: Any) -> None:
    llm = make_llm([[EngineError("it broke")]])
    debug = LlamaDebugHandler(print_trace_on_end=False)
    llm.callback_manager = CallbackManager([debug])
    with pytest.raises(EngineError, match="student: it broke"):
        llm.complete("Well?")
    ((_, end),) = debug.get_event_pairs(CBEventType.LLM)
    assert isinstance(end.payload["exception"], EngineError)
