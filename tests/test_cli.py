"""The command line, on scripted engines: what it prints, where, and how it fails."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from relay_core import ConfigurationError, EngineError, Prices, RelaySettings, ScriptedEngine
from relay_core.cli import app
from relay_core.cli.chat import ChatHistory
from relay_core.cli.options import _SETTINGS, read_prices
from relay_core.engines.base import Engine, Prompt
from relay_core.engines.openai.retries import BreakerState
from relay_core.extras import EXTRAS, missing
from relay_core.tokenizer import Tokenizer
from relay_core.unicode import printable

STUDENT = [["47 * 6 = <call>3</call>"], [". Done."]]
Play = Callable[..., dict[str, ScriptedEngine]]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """Makes every engine spec mean a scripted engine, of text alone by default; returns them by role."""

    def with_scripts(student: Any = STUDENT, teacher: Any = "282", tokenizer: Any = None) -> dict[str, ScriptedEngine]:
        engines = {
            "student": ScriptedEngine(student, tokenizer, record=True),
            "teacher": ScriptedEngine(teacher, tokenizer, record=True),
        }

        def from_spec(spec: str, *, role: str = "student", **_: Any) -> Engine:
            return engines[role]

        monkeypatch.setattr("relay_core.engines.spec.engine_from_spec", from_spec)
        return engines

    return with_scripts


def relay(*args: str, input: str | None = None, **env: str | None) -> Result:
    plain = {"NO_COLOR": None, "FORCE_COLOR": None, "TERM": "xterm-256color", "COLUMNS": "80", "RELAY_DEBUG": None}
    return CliRunner().invoke(app, list(args), input=input, env={**plain, **env})


def answer_of(result: Result) -> dict[str, Any]:
    """The one JSON object on stdout."""
    lines = result.stdout.splitlines()
    assert len(lines) == 1, result.output
    value: dict[str, Any] = json.loads(lines[0])
    return value


# -- ask -------------------------------------------------------------------------------------------------------


def test_ask_prints_the_answer_alone_on_stdout(play: Play) -> None:
    play()
    result = relay("ask", "47 * 6?")
    assert result.exit_code == 0
    assert result.stdout == "47 * 6 = 282. Done.\n"
    assert "1 call" in result.stderr and 'the teacher wrote: "282"' in result.stderr


def test_ask_marks_the_teacher_by_more_than_colour(play: Play) -> None:
    play()
    coloured = relay("ask", "47 * 6?", FORCE_COLOR="1")
    without = relay("ask", "47 * 6?", FORCE_COLOR="1", NO_COLOR="1")
    digits = {"coloured": coloured.stdout, "without": without.stdout}
    for name, text in digits.items():
        assert re.search(r"\x1b\[1;4(;38;5;\d+)?m2", text), (name, text)
    assert "38;5" in coloured.stdout and "38;5" not in without.stdout
    assert "teacher" in coloured.stderr  # the legend


def test_ask_json(play: Play, qwen3: Tokenizer) -> None:
    play(tokenizer=qwen3)
    result = relay("ask", "47 * 6?", "--json", "--price", "teacher_output=2", "--price", "student_output=1")
    assert result.stderr == ""
    answer = answer_of(result)
    assert answer["text"] == "47 * 6 = 282. Done."
    assert [s["author"] for s in answer["segments"]] == ["student", "command", "teacher", "student"]
    assert all(s["token_ids"] for s in answer["segments"])
    assert answer["usage"]["teacher_tokens"] == 3 and answer["usage"]["calls"] == 1
    written = answer["usage"]["student_tokens"] + answer["usage"]["command_tokens"]
    assert answer["cost"] == pytest.approx((written + 2 * 3) / 1e6)
    assert answer["finish_reason"] == "stop"


def test_ask_reads_the_question_from_stdin_and_takes_a_system_message(play: Play) -> None:
    engines = play()
    relay("ask", "-", "--system", "Be brief.", input="47 * 6?\n")
    prompt, _ = engines["student"].requests[0]
    assert [(m["role"], m["content"]) for m in prompt.messages] == [("system", "Be brief."), ("user", "47 * 6?\n")]


def test_ask_tells_what_was_cut_and_what_the_loop_reports(play: Play) -> None:
    play(student=[["<call>3</call>"], ["<call>3</call>", *["on "] * 60]])
    result = relay("ask", "47 * 6?", "--max-tokens", "40", "--max-calls", "1")
    assert "cut at max_tokens" in result.stderr and "max_calls: all 1 calls" in result.stderr
    assert answer_of(relay("ask", "47 * 6?", "--max-calls", "1", "--json"))["notes"].keys() >= {"max_calls"}
    play()
    assert "cut at max_tokens" not in relay("ask", "47 * 6?").stderr


@pytest.mark.parametrize(
    ("script", "flags", "hint"),
    [
        (["It is so."], ["--student", "me/mine", "--teacher", "me/yours"], "--trigger uncertain:0.4,8 calls where"),
        (["It is so."], [], None),
        (["It is so."], ["--student", "me/mine", "--teacher", "me/yours", "--no-calls"], None),
        (STUDENT, ["--student", "me/mine", "--teacher", "me/yours"], None),
        (STUDENT, ["--student", "me/mine"], "name yours with --teacher"),
    ],
)
def test_ask_hints_at_what_a_pair_of_ones_own_lacks(
    play: Play, script: Any, flags: list[str], hint: str | None
) -> None:
    play(student=script)
    stderr = " ".join(relay("ask", "47 * 6?", *flags).stderr.split())
    assert hint in stderr if hint else "(the" not in stderr


def test_flags_reach_the_loop(play: Play) -> None:
    engines = play()
    flags = ["--temperature", "0.7", "--seed", "5", "--max-tokens", "200", "--max-call-tokens", "2"]
    answer = answer_of(relay("ask", "q", "--json", *flags))
    _, sampling = engines["student"].requests[0]
    assert (sampling.temperature, sampling.seed, sampling.max_tokens) == (0.7, 5, 200)
    assert answer["usage"]["teacher_tokens"] == 2


def test_the_flag_warming_reaches_the_settings(play: Play) -> None:
    engines = play()
    assert answer_of(relay("ask", "q", "--json", "--warming", "on", "--max-call-tokens", "9"))["text"]
    assert [sampling.max_tokens for _, sampling in engines["teacher"].requests] == [9]


def test_json_reports_every_call_and_the_breakers_state(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    play(teacher=[["2", EngineError("gone away")]])
    answer = answer_of(relay("ask", "q", "--json"))
    [call] = answer["calls"]
    assert (call["requested"], call["received"], call["error"], call["breaker"]) == (3, 1, "gone away", None)
    assert (answer["breaker"], answer["failures"]) == (None, ["gone away"])
    monkeypatch.setattr(ScriptedEngine, "breaker", BreakerState.OPEN)
    assert answer_of(relay("ask", "q", "--json"))["breaker"] == "open"
    assert "the teacher's circuit breaker is open" in relay("ask", "q").stderr


def test_no_calls_is_teacher_free(play: Play) -> None:
    engines = play()
    answer = answer_of(relay("ask", "q", "--json", "--no-calls"))
    assert answer["usage"]["refused_calls"] == 1 and not engines["teacher"].requests


def test_stop_can_be_given_several_times(play: Play) -> None:
    play()
    assert answer_of(relay("ask", "q", "--json", "--stop", "zzz", "--stop", ". D"))["text"] == "47 * 6 = 282"


def test_every_setting_has_a_flag() -> None:
    assert {*_SETTINGS, "calls", "student_instructions", "prices"} == {
        f.name for f in dataclasses.fields(RelaySettings)
    }


def test_a_failed_call_is_reported_and_the_answer_goes_on(play: Play) -> None:
    play(teacher=[["2", EngineError("gone away")]])
    result = relay("ask", "q")
    assert result.exit_code == 0 and ". Done." in result.stdout
    assert "gone away" in result.stderr and "gone away" not in result.stdout


def test_control_characters_in_an_answer_are_replaced(play: Play) -> None:
    play(student=[["a\x1b[2Jb\x07"]])
    assert "\x1b[2J" not in relay("ask", "q", FORCE_COLOR="1").stdout
    assert printable("é\x9b\n\t") == "é\ufffd\n\t"


# -- what goes wrong -------------------------------------------------------------------------------------------

WRONG = [
    (["ask", "q", "--max-tokens", "0"], 1, "max_tokens is 0"),
    (["ask", "q", "--max-call-tokens", "9", "--max-teacher-tokens", "5"], 1, "max_call_tokens=9"),
    (["ask", "q", "--temperature", "-1"], 1, "temperature is -1"),
    (["ask", "q", "--on-teacher-error", "panic"], 1, "'continue' or 'raise'"),
    (["ask", "q", "--price", "teacher=1"], 1, "teacher_output"),
    (["ask", "q", "--price", "free"], 1, "NAME=AMOUNT"),
    (["ask", "q", "--student", "nosuch:thing"], 1, "unknown scheme"),
    (["ask", "q", "--teacher", "openai:model"], 1, "openai:MODEL@BASE_URL"),
    (["ask", "q", "--student", "/no/such/folder"], 1, "no folder /no/such/folder"),
    (["ask", "q", "--student", "bundled:nobody"], 1, "no bundled model is called 'nobody'"),
    (["ask"], 2, "Missing argument"),
    (["ask", "q", "--max-tokens", "many"], 2, "--max-tokens"),
    (["ask", "q", "--nonsense"], 2, "--nonsense"),
    (["demo", "--problems", "3"], 2, "problems"),
    (["frobnicate"], 2, "frobnicate"),
]


@pytest.mark.parametrize(("args", "code", "said"), WRONG)
def test_a_wrong_command_line_is_reported_on_stderr(args: list[str], code: int, said: str) -> None:
    result = relay(*args, COLUMNS="300")
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(("args", "code", "said"), WRONG)
def test_with_json_an_error_is_json(args: list[str], code: int, said: str) -> None:
    result = relay(*args, "--json")
    assert (result.exit_code, result.stderr) == (code, "")
    assert said in answer_of(result)["error"]["message"]


def test_an_error_midway_carries_the_answer_so_far(play: Play) -> None:
    play(teacher=[["28", EngineError("gone away")]])
    result = relay("ask", "q", "--json", "--on-teacher-error", "raise")
    assert result.exit_code == 1
    error = answer_of(result)["error"]
    assert error["type"] == "TeacherUnavailable" and error["text"] == "47 * 6 = 28" and "gone away" in error["message"]


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_an_unexpected_error_prints_no_traceback(play: Play, flags: list[str]) -> None:
    play(student=[["ok", ZeroDivisionError("nobody thought of this")]])
    result = relay("ask", "q", *flags)
    assert result.exit_code == 1 and "nobody thought of this" in (result.stdout if flags else result.stderr)
    assert "Traceback" not in result.output


def test_an_empty_question_is_refused(play: Play) -> None:
    play()
    assert "the prompt is empty" in answer_of(relay("ask", " ", "--json"))["error"]["message"]


def test_prices_are_read_by_name() -> None:
    assert read_prices(["teacher-output=0.5", "student_input = 1"]) == Prices(teacher_output=0.5, student_input=1.0)
    with pytest.raises(ConfigurationError, match="0 or more"):
        read_prices(["teacher_output=-1"])


@pytest.mark.parametrize("command", ["ask", "chat", "demo", "tune", "audit", "rollouts", "doctor"])
def test_every_command_offers_json_and_help(command: str) -> None:
    result = relay(command, "--help", COLUMNS="200")
    assert result.exit_code == 0 and "--json" in result.stdout


def test_version() -> None:
    import relay_core

    assert relay("--version").stdout == f"relay-decoding {relay_core.__version__}\n"


# -- chat ------------------------------------------------------------------------------------------------------


def echo(prompt: Prompt) -> str:
    return f"<{prompt.messages[-1]['content']}>"


def test_chat_keeps_its_history_until_new(play: Play) -> None:
    engines = play(student=echo)
    result = relay("chat", "--system", "S", input="one\n\n two \n/new\nthree\n/exit\nfour\n")
    assert result.exit_code == 0
    assert result.stdout == "<one>\n<two>\n<three>\n"
    asked = [[m["content"] for m in prompt.messages] for prompt, _ in engines["student"].requests]
    assert asked == [["S", "one"], ["S", "one", "<one>", "two"], ["S", "three"]]


def test_chat_json_is_one_object(play: Play) -> None:
    play(student=echo)
    answer = answer_of(relay("chat", "--json", input="one\ntwo\n"))
    assert [(t["question"], t["text"]) for t in answer["turns"]] == [("one", "<one>"), ("two", "<two>")]
    total = sum(t["usage"]["student_tokens"] for t in answer["turns"])
    assert answer["usage"]["student_tokens"] == total > 0


def test_a_failed_turn_does_not_end_the_chat_and_is_not_kept(play: Play) -> None:
    def script(prompt: Prompt) -> Any:
        return [EngineError("no")] if prompt.messages[-1]["content"] == "bad" else echo(prompt)

    engines = play(student=script)
    result = relay("chat", input="bad\ngood\n")
    assert result.exit_code == 0 and "<good>" in result.stdout and "no" in result.stderr
    assert [m["content"] for m in engines["student"].requests[-1][0].messages] == ["good"]


def test_an_interrupt_cuts_one_answer_short(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    play(student=echo)
    prompt_of = ChatHistory.prompt

    def prompt(self: ChatHistory, question: str) -> list[dict[str, Any]]:
        if question == "long":
            raise KeyboardInterrupt
        return prompt_of(self, question)

    monkeypatch.setattr(ChatHistory, "prompt", prompt)
    result = relay("chat", input="long\nnext\n")
    assert result.exit_code == 0 and result.stdout == "<next>\n" and "cut short" in result.stderr


# -- demo ------------------------------------------------------------------------------------------------------


def solver(groups: set[str], *, calls: bool) -> Callable[[Prompt], str]:
    """Boxes the right answer of problems in these groups; calls before it, where it may."""
    from relay_core.bundled.task import demo_problems

    answers = {p.messages[-1]["content"]: p for p in demo_problems(20)}

    def script(prompt: Prompt) -> str:
        problem = answers[prompt.messages[-1]["content"]]
        boxed = f"\\boxed{{{problem.answer}}}" if problem.group in groups else "\\boxed{no}"
        if prompt.continuation:
            return boxed
        return f"So <call>40</call> {boxed}" if calls and problem.group == "medium" else f"So {boxed}"

    return script


@pytest.fixture
def trio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripted engines as the demo's base student, relay student and teacher."""
    scripts = {
        "bundled:student-base": solver({"easy"}, calls=False),
        "student": lambda prompt: "." if prompt.turn else solver({"easy"}, calls=True)(prompt),
        "teacher": solver({"easy", "medium"}, calls=False),
    }

    def from_spec(spec: str, *, role: str = "student", **_: Any) -> Engine:
        return ScriptedEngine(scripts[spec if spec in scripts else role], None, honour_stop=True)

    monkeypatch.setattr("relay_core.engines.spec.engine_from_spec", from_spec)


def test_demo_json(trio: None) -> None:
    result = relay("demo", "--problems", "20", "--json")
    assert result.stderr == "", result.output
    demo = answer_of(result)
    assert demo["problems"] == 20 and demo["seconds"] > 0 and set(demo["methods"]) == {"student", "relay", "teacher"}
    for method in demo["methods"].values():
        assert {"accuracy", "bands", "call_ratio", "calls", "tokens_per_s", "cost"} <= set(method)
        assert set(method["bands"]) == {"easy", "medium", "hard"}
    student, relayed, teacher = (demo["methods"][m] for m in ("student", "relay", "teacher"))
    assert (student["accuracy"], student["call_ratio"], student["calls"]) == (0.4, 0.0, 0.0)
    assert teacher["bands"] == {"easy": 1.0, "medium": 1.0, "hard": 0.0} and teacher["call_ratio"] == 1.0
    assert relayed["bands"]["medium"] == 1.0 and relayed["calls"] == 0.5 and 0 < relayed["call_ratio"] < 1
    assert student["cost"] < relayed["cost"]
    assert any(s["author"] == "teacher" for s in demo["example"]["segments"])


def test_demo_fits_a_terminal_of_80_columns(trio: None) -> None:
    result = relay("demo", "--problems", "20")
    assert result.exit_code == 0
    assert "…" not in result.stdout and max(map(len, result.stdout.splitlines())) <= 80
    for said in ("student alone", "relay", "teacher alone", "100.0%", "recovers 100% of the gap", "Question:"):
        assert said in result.stdout
    assert "relay: 20 of 20 answered" in result.stderr


def test_demo_on_a_task_from_a_file(play: Play, tmp_path: Path) -> None:
    play(student=lambda prompt: "no", teacher=lambda prompt: "yes")
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps({"question": f"Is {i} {i}?", "answer": "yes"}) + "\n" for i in range(100)))
    demo = answer_of(relay("demo", "--task", str(file), "--problems", "10", "--json"))
    assert {name: method["accuracy"] for name, method in demo["methods"].items()} == {
        "student": 0.0, "relay": 0.0, "teacher": 1.0,
    }  # fmt: skip
    assert demo["problems"] == 10 and demo["methods"]["relay"]["bands"] == {} and demo["example"] is None
    table = relay("demo", "--task", str(file), "--problems", "10")
    assert table.exit_code == 0 and "recovers 0% of the gap" in table.stdout and "easy" not in table.stdout
    missing = relay("demo", "--task", str(tmp_path / "nowhere.jsonl"), "--json")
    assert missing.exit_code == 1 and "there is no file" in answer_of(missing)["error"]["message"]


# -- doctor ----------------------------------------------------------------------------------------------------


def test_doctor_json() -> None:
    report = answer_of(relay("doctor", "--json"))
    assert report["versions"]["torch"] and report["devices"]
    assert set(report["extras"]) == set(EXTRAS)
    assert report["engines"] == {}


def test_doctor_tells_what_a_pair_takes_before_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay_core.engines.transformers.memory.holders", set())  # those of other tests
    pair = ["doctor", "--student", "bundled", "--teacher", "bundled?cache_gib=0.1"]
    memory = answer_of(relay(*pair, "--json"))["memory"]
    assert memory["fits"] and set(memory["models"]) == {"student", "teacher"}
    assert memory["total_gib"] == pytest.approx(
        sum(model["weights_gib"] + model["cache_gib"] for model in memory["models"].values()), abs=0.005
    )
    monkeypatch.setattr("relay_core.engines.transformers.memory._system_free", lambda device: 30 * 2**20)
    refused = relay(*pair, COLUMNS="300")
    assert refused.exit_code == 1
    assert "DOES NOT FIT: a cache for" in refused.stdout and "write cache_gib=" in refused.stdout
    assert relay("doctor", "--teacher", "openai:x@http://127.0.0.1:9/v1").stdout.count("memory") == 0


def test_doctor_reports_what_an_extra_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = ["torch>=2", "nosuchthing>=3; extra == 'train'", "torch<1; extra == 'train'", "typer; extra == 'train'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needs)
    assert missing("train") == ["nosuchthing>=3", "torch<1"]
    assert missing("eval") == []
    said = relay("doctor", COLUMNS="300").stdout
    assert "lacks nosuchthing>=3, torch<1: pip install 'nosuchthing>=3' 'torch<1' 'typer'" in said.replace("\n", "")


def test_doctor_tells_whether_a_student_calls(play: Play) -> None:
    play(student=lambda prompt: "Each is 27, so it is 27 * 8 =<call>4</call> 216.")
    assert answer_of(relay("doctor", "--student", "x", "--json"))["engines"]["student"]["commands"] == 1
    assert "no command" not in relay("doctor", "--student", "x", COLUMNS="300").stdout
    play(student=lambda prompt: "Each is 27, so it is 27 * 8 = 206.")
    assert answer_of(relay("doctor", "--student", "x", "--json"))["engines"]["student"]["commands"] == 0
    assert "only if it was trained to" in relay("doctor", "--student", "x", COLUMNS="300").stdout


def test_doctor_tells_how_a_template_gets_tools_and_system_messages(play: Play, tiny: Tokenizer) -> None:
    play(teacher="yes", tokenizer=tiny)
    teacher = answer_of(relay("doctor", "--teacher", "x", "--json"))["engines"]["teacher"]
    assert (teacher["tools"], teacher["system"]) == ("by the chat template", "by the chat template")
    assert "tools=by the chat template" in relay("doctor", "--teacher", "x", COLUMNS="300").stdout


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_doctor_asks_a_teacher_whether_it_answers(play: Play, flags: list[str]) -> None:
    play(teacher="yes")
    well = relay("doctor", "--teacher", "x", *flags)
    assert well.exit_code == 0 and ("answers" in well.stdout)
    play(student="x")
    play(teacher=[[EngineError("no route to it")]])
    down = relay("doctor", "--teacher", "x", *flags, COLUMNS="300")
    assert down.exit_code == 1 and "no route to it" in down.stdout
    if flags:
        assert answer_of(down)["engines"]["teacher"]["answers"] is False
