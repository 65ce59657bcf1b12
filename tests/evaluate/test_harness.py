"""What the adapters to the harnesses share: arguments, counts, the report; without any harness."""

from __future__ import annotations

import json
import traceback
from typing import Any

import pytest

from relay_core import OpenAIEngine, RelaySettings, ScriptedEngine, Usage
from relay_core.errors import BudgetError, ConfigurationError
from relay_core.evaluate.harness import HarnessModel, Request
from relay_core.evaluate.harness_arguments import ARGUMENTS, no_likelihood, parse_arguments

KEY = "planted-5f2c81"


def scripted(**arguments: Any) -> HarnessModel:
    student = ScriptedEngine([["47 * 6 = <call>3</call>"], ["."]], record=True)
    return HarnessModel({"student": student, "teacher": ScriptedEngine("282"), **arguments})


def test_counts_are_the_sums_of_the_answers() -> None:
    model = scripted(prices='{"teacher_output": 20}')
    ticks: list[int] = []
    results = model.answer_all([Request("47 * 6?"), Request("And again?")], on_answer=lambda: ticks.append(1))
    assert [result.text for result in results] == ["47 * 6 = 282."] * 2 and len(ticks) == 2
    assert model.usage == Usage.total(result.usage for result in results)
    report = json.loads(json.dumps(model.report()))
    assert report["usage"] == model.usage.as_dict() and report["answers"] == 2
    assert report["cost"] == pytest.approx(model.usage.teacher_tokens * 20 / 1e6)
    assert report["settings"]["prices"]["teacher_output"] == 20 and report["settings"]["trigger"] == "commands"
    assert set(report["settings"]) == set(ARGUMENTS) - {"student", "teacher", "max_concurrency"}
    usage = model.usage
    assert model.summary() == (
        f"relay: 2 answers; tokens written: student {usage.student_tokens}, commands {usage.command_tokens}, "
        f"teacher {usage.teacher_tokens} (call ratio {usage.call_ratio:.1%}); 2 calls"
    )


def test_before_the_first_answer_nothing_was_written() -> None:
    assert scripted().report()["usage"] == Usage().as_dict() and scripted().report()["cost"] is None


@pytest.mark.parametrize("teacher", [None, "none", "None"])
def test_a_relay_may_have_no_teacher(teacher: str | None) -> None:
    model = HarnessModel({"teacher": teacher, "max_tokens": 5})
    assert model.relay.teacher is None and model.report()["teacher"] is None
    assert model.relay.settings == RelaySettings(max_tokens=5)


def test_each_request_may_have_settings_of_its_own() -> None:
    model = scripted(max_tokens=50, stop=["x"])
    model.answer_all([Request("a", overrides={"max_tokens": 9, "stop": ("y",)}), Request("b")])
    student = model.relay.student
    assert isinstance(student, ScriptedEngine)
    assert {sampling.max_tokens for prompt, sampling in student.requests if prompt.turn == 0} == {9, 50}


def test_a_beginning_is_forced() -> None:
    model = HarnessModel({"student": ScriptedEngine("= 4", record=True), "teacher": None})
    (result,) = model.answer_all([Request("2 + 2?", prefix="2 + 2 ")])
    assert result.text == "= 4"


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", {}),
        ("student=bundled,teacher=none,max_calls=5", {"student": "bundled", "teacher": "none", "max_calls": 5}),
        ("trigger=uncertain:0.4,8,calls=true", {"trigger": "uncertain:0.4,8", "calls": True}),
        ("teacher=openai:m@http://h/v1?retries=3&mode=chat, top_p=0.5",
         {"teacher": "openai:m@http://h/v1?retries=3&mode=chat", "top_p": 0.5}),
        ('prices={"teacher_input": 1, "teacher_output": 2},seed=null',
         {"prices": {"teacher_input": 1, "teacher_output": 2}, "seed": None}),
        (' {"stop": ["a", "b,c=d"]}', {"stop": ["a", "b,c=d"]}),
    ],
)  # fmt: skip
def test_arguments_as_text(text: str, arguments: dict[str, Any]) -> None:
    assert parse_arguments(text) == arguments


@pytest.mark.parametrize("text", [KEY, f"student=bundled,{KEY}=", f"[{KEY}", f"{{{KEY}", f'{{"teacher_key": "{KEY}"}}'])
def test_arguments_that_cannot_be_read_are_not_shown(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        HarnessModel(parse_arguments(text))
    if f"{KEY}=" not in text:  # there it is a name
        assert KEY not in "".join(traceback.format_exception(refused.value)).replace(f'"{text}"', "")


@pytest.mark.parametrize(
    "name", ["api_key", "student_api_key", "teacher_api_key", "openai_key", "auth_token", "password"]
)
def test_a_key_is_refused_and_not_shown(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name}: a harness writes .* RELAY_TEACHER_API_KEY") as refused:
        HarnessModel({name: KEY})
    assert KEY not in str(refused.value)


@pytest.mark.parametrize("name", [name for name in ARGUMENTS if "token" in name])
def test_a_budget_of_tokens_is_no_key(name: str) -> None:
    assert getattr(HarnessModel({name: 5}).relay.settings, name) == 5


def test_the_key_of_the_environment_is_in_no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_TEACHER_API_KEY", KEY)
    model = HarnessModel({"teacher": "openai:m@http://127.0.0.1:9/v1"})
    assert isinstance(model.relay.teacher, OpenAIEngine)
    assert KEY not in json.dumps(model.report()) + model.summary() + model.name + repr(vars(model))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_cals": 5}, ConfigurationError, "no argument 'max_cals'; did you mean max_calls?"),
        ({"max_concurrency": 0}, ConfigurationError, "max_concurrency is 0"),
        ({"max_tokens": 0}, BudgetError, "max_tokens is 0"),
        ({"prices": "cheap"}, ConfigurationError, "prices: this is no JSON object"),
        ({"student": 3}, ConfigurationError, "an engine spec is a int"),
    ],
)
def test_arguments_that_cannot_be_used_say_why(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        HarnessModel(arguments)


def test_the_error_about_likelihoods_names_the_tasks() -> None:
    assert "hellaswag, lambada cannot be run" in str(no_likelihood({"lambada", "hellaswag"}))
