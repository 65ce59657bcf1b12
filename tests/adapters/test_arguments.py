"""Arguments that both plugins' models share: keys, and other models' names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from langchain_relay import ChatRelay
from llamaindex_relay import RelayLLM
from relay_core import Relay, ScriptedEngine, bundled
from relay_core.errors import ConfigurationError

URL = "http://127.0.0.1:1/v1"
SPECS: dict[str, Any] = {"student": f"openai:s@{URL}", "teacher": f"openai:t@{URL}"}
BOTH = pytest.mark.parametrize("model", [ChatRelay, RelayLLM])


def key_in_use(model: Any, role: str) -> str:
    relay = model._relay({}) if isinstance(model, ChatRelay) else model._relay()
    key: str = getattr(relay, role)._address.api_key.get_secret_value()
    return key


@BOTH
@pytest.mark.parametrize("role", ["student", "teacher"])
@pytest.mark.parametrize("wrap", [str, SecretStr])
def test_white_space_around_a_key_is_cut(model: Any, role: str, wrap: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    built = model(**SPECS, **{f"{role}_api_key": wrap(" sk-mounted\r\n")})
    assert key_in_use(built, role) == "sk-mounted"
    monkeypatch.setenv(f"RELAY_{role.upper()}_API_KEY", "sk-from-a-file\n")
    assert key_in_use(model(**SPECS), role) == "sk-from-a-file"


@BOTH
@pytest.mark.parametrize("name", ["api_key", "student_api_key", "teacher_api_key"])
@pytest.mark.parametrize("key", ["sk-pla\nnted", "sk-planted\x00", "sk-plänted", "sk-planted\u2028x", b"sk-planted", 7])
def test_a_key_that_cannot_be_sent_is_refused_when_it_is_set(model: Any, name: str, key: Any) -> None:
    for value in [key, SecretStr(key)] if isinstance(key, str) else [key]:
        with pytest.raises(ValueError, match=f"{name}= (has a character|is a)") as refused:
            model(**SPECS, **{name: value})
        assert "sk-pl" not in str(refused.value)


@BOTH
def test_a_key_in_the_environment_that_cannot_be_sent_is_refused_where_it_is_needed(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-pla\nnted")
    assert model(student="bundled", teacher=None).teacher is None
    with pytest.raises(ValueError, match="OPENAI_API_KEY has a character") as refused:
        model(**SPECS)
    assert "sk-pla" not in str(refused.value)


@BOTH
def test_other_models_names_are_understood(model: Any) -> None:
    built = model(model=SPECS["student"], teacher=SPECS["teacher"], api_key="k", timeout=9, stop_sequences=["x"])
    assert (built.student, built.teacher_timeout_s, list(built.stop)) == (SPECS["student"], 9, ["x"])
    assert key_in_use(built, "teacher") == "k"
    assert model(**SPECS, request_timeout=3, max_completion_tokens=7, temperature=None).max_tokens == 7


@BOTH
def test_one_thing_under_two_names_is_refused(model: Any) -> None:
    for arguments in ({"teacher_timeout_s": 3, "timeout": 3}, {"timeout": 3, "teacher_timeout_s": 3}):
        with pytest.raises(ValueError, match="timeout is another name for teacher_timeout_s"):
            model(**SPECS, **arguments)


@BOTH
def test_an_api_key_that_can_only_be_meant_for_the_student_is_refused(model: Any) -> None:
    with pytest.raises(ValueError, match="write student_api_key="):
        model(model=SPECS["student"], api_key="k")


def test_a_call_of_relayllm_understands_them_too() -> None:
    llm = RelayLLM(relay=Relay(ScriptedEngine("a b c d", record=True), None))
    assert llm.complete("?", max_completion_tokens=1, timeout=3).raw["finish_reason"] == "length"
    for replaced in ({"model": "bundled"}, {"teacher": None}):
        with pytest.raises(ConfigurationError, match="build another RelayLLM"):
            llm.complete("?", **replaced)


@BOTH
def test_a_path_is_the_spec_of_its_folder(model: Any) -> None:
    folder = bundled.path("student-base")
    built = model(model=folder, teacher=folder)
    assert (built.student, built.teacher) == (f"transformers:{folder}", f"transformers:{folder}")
    with pytest.raises(ValueError, match="there is no folder nowhere"):
        model(student=Path("nowhere"))
