"""What an engine knows and refuses without a server, and with servers on loopback that are bent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from relay_core.engines.openai import OpenAIEngine
from relay_core.engines.openai.probe import Endpoint
from relay_core.engines.openai.protocol import Dialect, Mode
from relay_core.engines.scripted import ScriptedEngine
from relay_core.errors import ConfigurationError, EngineError
from relay_core.relay import Relay
from testing.loopback import Answer, Request, chat_endpoint, http_response, loopback


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


@pytest.mark.parametrize("models", ["silent", "403", "500", "garbage", "[7]", "cut"])
async def test_an_endpoint_is_used_whatever_its_list_of_models_does(models: str) -> None:
    async def silent() -> AsyncGenerator[bytes, None]:
        yield b""
        await asyncio.sleep(3600)

    chat = chat_endpoint()
    answers = {"silent": silent, "403": lambda: http_response("no", 403), "500": lambda: http_response("no", 500)}
    answers |= {"garbage": lambda: b"garbage\r\n\r\n", "[7]": lambda: http_response("[7]"), "cut": lambda: b""}

    def answer(request: Request) -> Answer:
        return answers[models]() if request.target.endswith("/models") else chat(request)

    async with loopback(answer) as server:
        engine = OpenAIEngine("m", server.url, api_key="k", first_token_s=0.5, backoff_s=0.01)
        assert (await Relay(engine, None).agenerate("Hi")).text == "yes"
        assert engine.mode is Mode.CHAT
        await engine.aclose()


@pytest.mark.parametrize("body", ['{"choices": 7}', '{"a": 1}', "7", "null", '{"choices": [[]]}', "[" * 9999, ""])
async def test_odd_json_of_a_teacher_is_a_failed_call(body: str) -> None:
    async with loopback(lambda request: http_response(body)) as server:
        teacher = OpenAIEngine("m", server.url, api_key="k", retries=0)
        result = await Relay(ScriptedEngine([["It is <call>3</call>"], ["4."]]), teacher).agenerate("Hi")
        assert result.text == "It is 4."
        assert server.url in result.failures[0] or "cannot be used in mode" in result.failures[0]
        await teacher.aclose()


async def test_questions_that_fail_do_not_open_the_breaker() -> None:
    def answer(request: Request) -> Answer:
        is_plain = len(request.json.get("messages", ())) == 1 and "chat_template_kwargs" not in request.json
        return chat_endpoint()(request) if is_plain else http_response("crashed", 500)

    async with loopback(answer) as server:
        engine = OpenAIEngine("m", server.url, api_key="k", backoff_s=0.01, breaker_after=3)
        await engine.start()
        assert (engine.mode, str(engine.breaker)) == (Mode.CHAT, "closed")
        await engine.aclose()
