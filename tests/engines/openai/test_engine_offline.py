"""What an engine knows and refuses without a server."""

from __future__ import annotations

import pytest

from relay_core.engines.openai import OpenAIEngine
from relay_core.engines.openai.probe import Endpoint
from relay_core.engines.openai.protocol import Dialect, Mode
from relay_core.errors import ConfigurationError, EngineError
from relay_core.relay import Relay


@pytest.mark.parametrize("mode", Mode)
def test_the_mode_decides_whether_an_engine_constrains(mode: Mode) -> None:
    engine = OpenAIEngine("m", "http://localhost:1/v1", api_key="k")
    assert engine.constrains, "the assumption before probing"
    engine._adopt(Endpoint(Dialect(mode)))
    assert engine.constrains is (mode is not Mode.COMPLETIONS)


def test_a_student_that_is_down_is_an_engine_error_of_its_own_role() -> None:
    engine = OpenAIEngine("s", "http://127.0.0.1:9/v1", retries=0, breaker_after=1)
    relay = Relay(engine, None)
    for reason in ("could not be reached", "circuit breaker is open"):
        with pytest.raises(EngineError, match=f"^student: .*{reason}") as failed:
            relay.generate("Hi")
        assert type(failed.value) is EngineError
        assert failed.value.role == "student"
        assert failed.value.__cause__ is not None


def test_modes_are_described_by_their_plain_names() -> None:
    engine = OpenAIEngine("m", "http://localhost:1/v1", api_key="k")
    engine._adopt(Endpoint(Dialect(Mode.CHAT), passed_over={Mode.IDS: "why"}))
    assert "{'ids': 'why'}" in str(engine.describe())


@pytest.mark.parametrize("mode", Mode)
def test_the_mode_decides_whether_an_engine_continues(mode: Mode) -> None:
    engine = OpenAIEngine("m", "http://localhost:1/v1", api_key="k", mode=mode, retries=0)
    assert engine.continues, "the assumption before probing"
    engine._adopt(Endpoint(Dialect(mode)))
    assert engine.continues is (mode is not Mode.CHAT)


def test_a_forced_beginning_in_plain_chat_is_refused() -> None:
    student = OpenAIEngine("m", "http://localhost:1/v1", api_key="k", retries=0)
    student._adopt(Endpoint(Dialect(Mode.CHAT)))
    with pytest.raises(ConfigurationError, match="json_schema"):
        Relay(student, None).generate("Hi", prefix="{")
