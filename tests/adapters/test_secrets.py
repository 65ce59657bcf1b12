"""Keys are planted in both plugins in every way in which one can be set, and searched for in every output."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.load import dumpd, dumps
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from pydantic import SecretStr

from langchain_relay import ChatRelay
from llamaindex_relay import RelayLLM
from relay_core import EngineError, OpenAIEngine, Relay, ScriptedEngine

SECRET = "sk-planted-4711"
URL = "http://127.0.0.1:1/v1"  # where nobody listens
SPECS: dict[str, Any] = {"student": f"openai:s@{URL}", "teacher": f"openai:t@{URL}", "max_retries": 0}
KEYS = ("student_api_key", "teacher_api_key")
SCRIPTS = {"student": ["47 * 6 = <call>3</call>", "."], "teacher": "282"}


def keyed_engine() -> OpenAIEngine:
    return OpenAIEngine("m", URL, api_key=SECRET, retries=0)


def keyed_relay() -> Relay:
    return Relay(keyed_engine(), OpenAIEngine("t", URL, api_key=SecretStr(SECRET), headers={"X-Key": SECRET}))


def answering(**keys: Any) -> dict[str, Any]:
    """Arguments of a model that answers, and has keys all the same."""
    return {"relay": Relay(ScriptedEngine(SCRIPTS["student"]), ScriptedEngine(SCRIPTS["teacher"])), **keys}


def ways(model: type[ChatRelay] | type[RelayLLM]) -> dict[str, Callable[[], Any]]:
    """Models that have keys, by the way in which each was given them."""
    both = dict.fromkeys(KEYS, SECRET)
    made: dict[str, Callable[[], Any]] = {
        "arguments": lambda: model(**SPECS, **both),
        "secrets": lambda: model(**SPECS, **dict.fromkeys(KEYS, SecretStr(SECRET))),
        "environment": lambda: model(**SPECS),
        "relay": lambda: model(relay=keyed_relay(), **both),
        "answering": lambda: model(**answering(**both)),
    }
    if model is ChatRelay:
        made["api_key"] = lambda: model(**SPECS, api_key=SECRET)
        made["engines"] = lambda: ChatRelay(student=keyed_engine(), teacher=keyed_engine(), **both)
    return made


def copies(model: Any) -> Iterator[Any]:
    yield model
    yield from (copy.copy(model), copy.deepcopy(model), model.model_copy(), model.model_copy(deep=True))


def written(model: Any) -> Iterator[tuple[str, Any]]:
    """Every way of writing a model down that does not ask it anything."""
    yield "repr", repr(model)
    yield "str", str(model)
    yield "format", f"{model}"
    yield "attributes", repr(vars(model))
    yield "private attributes", repr(model.__pydantic_private__)
    yield "model_dump", repr(model.model_dump())
    yield "model_dump of JSON", repr(model.model_dump(mode="json"))
    yield "model_dump_json", model.model_dump_json()
    yield "relay", repr(model._relay({}) if isinstance(model, ChatRelay) else model._relay())
    try:
        yield "pickle", pickle.dumps(model)
    except ValueError as error:  # an engine that no spec names
        yield "error of pickle", "".join(traceback.format_exception(error))
    if isinstance(model, ChatRelay):
        yield from _written_by_langchain(model)
    else:
        yield "to_dict", json.dumps(model.to_dict())
        yield "to_json", model.to_json()
        yield "to_payload", repr(model.to_payload())
        yield "metadata", repr(model.metadata)


def _written_by_langchain(model: ChatRelay) -> Iterator[tuple[str, Any]]:
    bound = model.bind(stop=["x"])
    yield "to_json", repr(model.to_json())
    yield "dumps", dumps(model)
    yield "dumpd", repr(dumpd(model))
    yield "dumps of a binding", dumps(bound)
    yield "repr of a binding", repr(bound)
    yield "dumps of a chain", dumps(model.with_retry().with_fallbacks([model]))
    yield "asdict", repr(model.asdict())
    yield "ls_params", repr(model._get_ls_params(stop=["x"]))
    yield "invocation_params", repr(model._get_invocation_params())
    yield "llm_string", model._get_llm_string()
    yield "graph", repr(model.get_graph().to_json())


def search(outputs: Iterator[tuple[str, Any]]) -> list[str]:
    """The names of the outputs that hold the secret."""
    found = []
    for name, output in outputs:
        text = output if isinstance(output, bytes) else output.encode()
        if SECRET.encode() in text:
            found.append(name)
    return found


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "RELAY_STUDENT_API_KEY", "RELAY_TEACHER_API_KEY"):
        monkeypatch.setenv(name, SECRET)


MODELS = [(model, way) for model in (ChatRelay, RelayLLM) for way in ways(model)]


@pytest.mark.parametrize(("model", "way"), MODELS)
def test_no_key_is_in_anything_that_a_model_is_written_as(environment: None, model: Any, way: str) -> None:
    built = ways(model)[way]()
    for twin in copies(built):
        assert search(written(twin)) == []


class Runs(BaseTracer):
    """Collects the runs that LangSmith would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.runs.append(run)


class Events(BaseEventHandler):
    """Collects LlamaIndex's events."""

    events: list[Any]

    @classmethod
    def class_name(cls) -> str:
        return "Events"

    def handle(self, event: Any, **kwargs: Any) -> None:
        self.events.append(event)


@pytest.mark.parametrize("way", ways(ChatRelay))
def test_no_key_is_in_what_langchain_traces(environment: None, way: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    model, runs = ways(ChatRelay)[way](), Runs()
    outputs: list[tuple[str, Any]] = []
    for ask in (lambda: model.invoke("Hi", config={"callbacks": [runs]}), lambda: [*model.stream("Hi")]):
        try:
            answer = ask()
            outputs += [("answer", repr(answer)), ("pickled answer", pickle.dumps(answer))]
        except EngineError as error:
            assert way != "answering"
            outputs.append(("traceback", "".join(traceback.format_exception(error))))
    assert runs.runs
    outputs += [(f"run {name}", repr(value)) for run in runs.runs for name, value in run.__dict__.items()]
    outputs.append(("log", caplog.text))
    assert search(iter(outputs)) == []


@pytest.mark.parametrize("way", ways(RelayLLM))
def test_no_key_is_in_what_llamaindex_tells(environment: None, way: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    handler, debug = Events(events=[]), LlamaDebugHandler(print_trace_on_end=False)
    model = ways(RelayLLM)[way]()
    model.callback_manager = CallbackManager([debug])
    outputs: list[tuple[str, Any]] = []
    get_dispatcher().add_event_handler(handler)
    try:
        for ask in (lambda: model.complete("Hi"), lambda: [*model.stream_complete("Hi")]):
            try:
                answer = ask()
                outputs += [("answer", repr(answer)), ("pickled answer", pickle.dumps(answer))]
            except EngineError as error:
                assert way != "answering"
                outputs.append(("traceback", "".join(traceback.format_exception(error))))
    finally:
        get_dispatcher().event_handlers.remove(handler)
    assert handler.events
    outputs += [(event.class_name(), repr(event)) for event in handler.events]
    outputs += [("payload", repr(event.payload)) for pair in debug.get_event_pairs() for event in pair]
    outputs.append(("log", caplog.text))
    assert search(iter(outputs)) == []


@pytest.mark.parametrize("model", [ChatRelay, RelayLLM])
@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"max_tokens": SECRET},
        {"no_such_argument": SECRET},
        {"student": f"openai:s@{URL}?key={SECRET}"},
        {"student": f"openai:s@http://user:{SECRET}@127.0.0.1:1/v1"},
        {"student_api_key": [SECRET]},
        {"teacher_api_key": SECRET.encode()},
    ],
)
def test_no_key_is_in_the_error_of_wrong_arguments(model: Any, wrong: dict[str, Any]) -> None:
    arguments = {**SPECS, **dict.fromkeys(KEYS, SECRET), **wrong}
    try:
        model(**arguments)
    except ValueError as error:
        text = "".join(traceback.format_exception(error))
        if wrong.get("max_tokens") == SECRET:  # a wrong setting is shown: it is no key
            text = text.replace(repr(SECRET), "")
        assert SECRET not in text
    else:
        pytest.fail(f"{wrong} was accepted")


@pytest.mark.parametrize("model", [ChatRelay, RelayLLM])
def test_an_unpickled_model_reads_its_keys_from_the_environment(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    built = model(**SPECS, max_calls=3, stop=["x"], **dict.fromkeys(KEYS, SECRET))
    pickled = pickle.dumps(built)
    assert built.teacher_api_key.get_secret_value() == SECRET  # pickling changes nothing
    for name in ("student", "teacher"):
        monkeypatch.setenv(f"RELAY_{name.upper()}_API_KEY", f"the {name}'s")
    twin = pickle.loads(pickled)
    assert (twin.student, twin.teacher, twin.max_retries) == (SPECS["student"], SPECS["teacher"], 0)
    assert (twin.max_calls, list(twin.stop)) == (3, ["x"])
    relay = twin._relay({}) if model is ChatRelay else twin._relay()
    for role in ("student", "teacher"):
        assert getattr(relay, role)._address.api_key.get_secret_value() == f"the {role}'s"


@pytest.mark.parametrize("model", [ChatRelay, RelayLLM])
def test_a_copied_model_shares_its_engines_and_keeps_its_keys(model: Any) -> None:
    built = model(relay=keyed_relay(), **dict.fromkeys(KEYS, SECRET))
    for twin in copies(built):
        assert twin.relay.student is built.relay.student
        assert twin.relay.teacher is built.relay.teacher
        assert twin.teacher_api_key.get_secret_value() == SECRET


def test_a_pickled_model_with_an_engine_that_no_spec_names_is_refused_and_stays_whole() -> None:
    relay = Relay(ScriptedEngine("Yes."), None)
    for model in (ChatRelay(relay=relay), RelayLLM(relay=relay), ChatRelay(student=ScriptedEngine("a"), teacher=None)):
        with pytest.raises(ValueError, match=r"cannot be pickled .*no spec names it"):
            pickle.dumps(model)
        assert "relay" in vars(model)
    assert RelayLLM(relay=relay).complete("?").text == "Yes."
