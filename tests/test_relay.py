"""The faces of a relay: sync, async and batch; who closes the engines; settings for one answer; copies and pickles."""

import copy
import pickle

import pytest

from relay_core import Author, ConfigurationError, OpenAIEngine, Relay, RelaySettings, ScriptedEngine, TextDelta
from relay_core.engines.scripted import Delay
from relay_core.tokenizer import Tokenizer

CONTINUE = {"on_teacher_stop": "continue"}


def test_the_sync_faces_are_the_same_loop(qwen3: Tokenizer) -> None:
    student = ScriptedEngine(["a<call>2</call>", "b"], qwen3)
    with Relay(student, ScriptedEngine("x y", qwen3)) as relay:
        text = relay.generate("Q").text
        assert text == "ax yb"
        events = list(relay.stream("Q"))
        assert "".join(e.text for e in events if isinstance(e, TextDelta)) == text == events[-1].result.text
        assert [r.text for r in relay.batch(["Q", "R"])] == [text, text]
        with pytest.raises(ConfigurationError):
            relay.generate("")
        with pytest.raises(ConfigurationError):
            list(relay.stream("Q", nonsense=1))


async def test_an_abandoned_stream_ends_its_calls(qwen3: Tokenizer) -> None:
    student, teacher = ScriptedEngine(["a<call>2</call>"], qwen3), ScriptedEngine([["x", Delay(3600)]], qwen3)
    stream = Relay(student, teacher).stream("Q")
    for event in stream:
        if isinstance(event, TextDelta) and event.author is Author.TEACHER:
            break
    assert (student.active, teacher.active) == (0, 1)
    stream.close()
    assert (student.active, teacher.active) == (0, 0)


async def test_engines_passed_in_stay_open_and_those_built_here_are_closed(qwen3: Tokenizer, monkeypatch) -> None:
    closed = []

    class Watched(ScriptedEngine):
        async def start(self) -> None:
            closed.append(f"start {self.script}")

        async def aclose(self) -> None:
            closed.append(f"close {self.script}")

    monkeypatch.setattr("relay_core.engines.spec.engine_from_spec", lambda spec, role: Watched(f"{role}:{spec}", qwen3))
    async with Relay("s", Watched("mine", qwen3)) as relay:
        await relay.start()
    assert closed == ["start student:s", "start mine", "close student:s"]
    closed.clear()
    with Relay(Watched("mine", qwen3), "t"):
        pass
    Relay(Watched("mine", qwen3), None).close()
    assert closed == ["close teacher:t"]


async def test_finished_settings_take_the_place_of_the_relays(qwen3: Tokenizer) -> None:
    student, teacher = (ScriptedEngine(script, qwen3, record=True) for script in ("a b c d", "x"))
    relay = Relay(student, teacher, RelaySettings(max_tokens=3, temperature=0.5))
    result = await relay.agenerate("Q", settings=RelaySettings(max_tokens=2))
    assert (result.usage.completion_tokens, student.requests[-1][1].temperature) == (2, 0.0)
    result = await relay.agenerate("Q", settings=RelaySettings(max_tokens=2), temperature=0.7)
    assert (result.usage.completion_tokens, student.requests[-1][1].temperature) == (2, 0.7)
    assert (await relay.agenerate("Q")).usage.completion_tokens == 3
    results = await relay.abatch(["Q", "R"], settings=RelaySettings(max_tokens=1))
    assert [r.usage.completion_tokens for r in results] == [1, 1]


# -- copies and pickles


def test_a_copy_shares_the_engines_and_does_not_close_them() -> None:
    relay = Relay("openai:s@http://localhost:1/v1", ScriptedEngine("a"), RelaySettings(max_calls=3))
    for twin in (copy.copy(relay), copy.deepcopy(relay)):
        assert twin.student is relay.student
        assert twin.teacher is relay.teacher
        assert twin.settings == relay.settings
        assert (twin._owned, relay._owned) == ([], [relay.student])


def test_a_pickled_relay_holds_specs_and_settings_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_STUDENT_API_KEY", "sekrit")
    engine = OpenAIEngine("t", "http://localhost:1/v1", api_key="sekrit", retries=1)
    relay = Relay("openai:s@http://localhost:1/v1", engine, RelaySettings(max_calls=3, stop="x"))
    pickled = pickle.dumps(relay)
    assert b"sekrit" not in pickled
    twin = pickle.loads(pickled)
    assert (twin.student.spec, twin.teacher.spec) == (relay.student.spec, engine.spec)
    assert (twin.settings, twin.teacher.patience) == (relay.settings, engine.patience)
    assert twin._owned == [twin.student, twin.teacher]  # nobody else could close them
    alone = pickle.loads(pickle.dumps(Relay(engine, None)))
    assert (alone.teacher, alone._owned) == (None, [alone.student])


def test_a_relay_with_an_engine_that_no_spec_names_cannot_be_pickled() -> None:
    with pytest.raises(ConfigurationError, match=r"ScriptedEngine.*cannot be pickled"):
        pickle.dumps(Relay(ScriptedEngine("a"), None))


def test_an_unpickled_relay_answers() -> None:
    with Relay("bundled", None, RelaySettings(max_tokens=4)) as relay:
        answer = relay.generate("What is 2 + 3?").text
        with pickle.loads(pickle.dumps(relay)) as twin:
            assert twin.generate("What is 2 + 3?").text == answer
