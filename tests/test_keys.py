"""Whose key is missing, and what to write: against a server that accepts none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from langchain_relay import ChatRelay
from llamaindex_relay import RelayLLM
from relay_core import Relay, RelayError, ScriptedEngine, engine_from_spec
from relay_core.engines.openai import OpenAIEngine
from relay_core.errors import ConfigurationError
from relay_core.keys import clean_key, key_from_environment, refuse_keys


class _Refusing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"error": {"message": "no such key"}}'
        self.send_response(401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def refusing() -> Iterator[str]:
    """The URL of a server that answers 401, whatever the key."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_student_whose_key_is_refused(refusing: str) -> None:
    chat = ChatRelay(model=f"openai:s@{refusing}", teacher=f"openai:t@{refusing}", api_key="sk-given")
    with pytest.raises(RelayError, match=r"^student: .*401.*student_api_key=.*RELAY_STUDENT_API_KEY") as refused:
        chat.invoke("Hi")
    assert "teacher" not in str(refused.value)
    llm = RelayLLM(student=f"openai:s@{refusing}", teacher=None)
    with pytest.raises(RelayError, match=r"^student: .*student_api_key="):
        llm.complete("Hi")


def test_a_teacher_whose_key_is_refused(refusing: str) -> None:
    student = ScriptedEngine(["It is <call>3</call>", "."])
    chat = ChatRelay(student=student, teacher=f"openai:t@{refusing}")
    [failure] = chat.invoke("Hi").response_metadata["relay"]["failures"]
    assert "teacher_api_key=" in failure
    assert "RELAY_TEACHER_API_KEY" in failure
    assert "student" not in failure
    with pytest.raises(RelayError, match=r"^teacher: http:") as refused:
        chat.invoke("Hi", on_teacher_error="raise")
    assert str(refused.value) == f"teacher: {failure}"


def test_an_engine_without_a_role_names_its_own_argument(refusing: str) -> None:
    with Relay(OpenAIEngine("s", refusing), None) as relay, pytest.raises(RelayError, match=r"set api_key="):
        relay.generate("Hi")


def test_a_key_that_can_only_be_meant_for_the_student_is_refused() -> None:
    with pytest.raises(ValueError, match="write student_api_key="):
        ChatRelay(model="openai:s@http://localhost:1/v1", api_key="sk-given")


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_roles_own_variable_comes_first(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "general")
    assert key_from_environment(role) == "general"  # type: ignore[arg-type]
    monkeypatch.setenv(f"RELAY_{role.upper()}_API_KEY", "own")
    assert key_from_environment(role) == "own"  # type: ignore[arg-type]


def test_the_teachers_key_is_not_the_students(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("RELAY_STUDENT_API_KEY", raising=False)
    monkeypatch.setenv("RELAY_TEACHER_API_KEY", "teacher's")
    student = engine_from_spec("openai:m@http://localhost:1/v1", role="student")
    assert isinstance(student, OpenAIEngine)
    assert student._address.api_key.get_secret_value() == ""


@pytest.mark.parametrize("name", ["api_key", "student_api_key", "teacher_api_key"])
def test_keys_are_not_for_calls(name: str) -> None:
    with pytest.raises(ConfigurationError, match="when the ChatRelay"):
        refuse_keys([name])
    chat = ChatRelay(student=ScriptedEngine("Yes."), teacher=None)
    for ask in (chat.bind, lambda **key: chat.invoke("Hi", **key), lambda **key: chat.bind_tools([], **key)):
        with pytest.raises(ConfigurationError, match=name) as refused:
            ask(**{name: "sk-given"})
        assert "sk-given" not in str(refused.value)
    with pytest.raises(ConfigurationError, match=name):
        RelayLLM(student="bundled", teacher=None).complete("Hi", **{name: "sk-given"})


def test_white_space_around_a_key_is_cut_and_other_characters_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert clean_key("\n sk-1\r\n", "api_key=") == "sk-1"
    for key in ("sk\n1", "sk\x00", "schlüssel", "sk-1\u2028x", 7, b"sk-1"):
        with pytest.raises(ConfigurationError, match=r"^api_key= (has a character|is a)") as refused:
            clean_key(key, "api_key=")
        assert "sk" not in str(refused.value)
    monkeypatch.setenv("RELAY_TEACHER_API_KEY", " \n")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-2\n")
    assert key_from_environment("teacher") == "sk-2"
    monkeypatch.setenv("OPENAI_API_KEY", "sk\n2")
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        key_from_environment("student")
