"""A relay in lm-evaluation-harness: its own command line on local data, and the requests that it makes."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance

from relay_core import RelaySettings, ScriptedEngine
from relay_core.errors import ConfigurationError
from relay_core.evaluate import lm_eval as adapter
from relay_core.evaluate.lm_eval import ChatPrompt, RelayLM
from relay_core.evaluate.lm_eval_options import overrides

from .conftest import KEY, Plain, run, written

MODULE = "relay_core.evaluate.lm_eval"


def request(context: Any, repeats: int = 1, **options: Any) -> list[Instance]:
    return [Instance("generate_until", {}, (context, options), 0, ("words", 0, repeats))] * repeats


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_generative_task_runs_to_the_end(folder: Path, plain: Plain) -> None:
    done = run(
        MODULE, "run", "--model", "relay", "--model_args", "student=bundled,teacher=bundled,max_calls=5",
        "--tasks", "relay_words", "--include_path", str(folder), "--output_path", str(folder / "lm"), "--log_samples",
        "--apply_chat_template", folder=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (file,) = (folder / "lm").rglob("results*.json")
    stored = json.loads(file.read_text())
    assert stored["results"]["relay_words"]["exact_match,boxed"] == pytest.approx(plain.accuracy)
    relay = stored["config"]["relay"]
    assert {name: relay["usage"][name] for name in written(plain.usage)} == written(plain.usage)
    assert relay["answers"] == 10 and relay["settings"]["max_calls"] == 5
    usage = plain.usage
    line = f"student {usage.student_tokens}, commands {usage.command_tokens}, teacher {usage.teacher_tokens} "
    assert re.search(rf"^relay: 10 answers; tokens written: {re.escape(line)}", done.stderr, re.MULTILINE)
    everything = done.stdout + done.stderr + "".join(f.read_text() for f in (folder / "lm").rglob("*.json*"))
    assert KEY not in everything


def command_line(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.setattr(sys, "argv", ["lm_eval", "run", *arguments])
    with pytest.raises(SystemExit) as ended:
        adapter.main()
    return ended.value.code


def test_tasks_of_likelihoods_are_refused_before_anything_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answered: list[Any] = []
    monkeypatch.setattr(RelayLM, "generate_until", lambda self, requests: answered.append(requests))
    monkeypatch.setenv("HF_HOME", str(folder / "hf"))
    said = command_line(
        monkeypatch, "--model", "relay", "--tasks", "relay_words,relay_choice", "--include_path", str(folder)
    )
    assert "no likelihood" in said and "relay_choice" in said and "relay_words" not in said
    assert answered == []


def test_a_request_for_a_likelihood_names_its_task() -> None:
    model = RelayLM()
    asked = Instance("loglikelihood", {}, ("a", "b"), 0, ("lambada", 0, 1))
    for method in (model.loglikelihood, model.loglikelihood_rolling):
        with pytest.raises(ConfigurationError, match=r"no likelihood.*lambada"):
            method([asked])


@pytest.mark.parametrize("given", ["arguments", "file"])
def test_a_key_is_refused_before_it_is_logged(
    given: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    chosen = ["--model", "relay", "--model_args", f"teacher_api_key={KEY}"]
    if given == "file":
        (tmp_path / "run.yaml").write_text(f"model: relay\nmodel_args: {{teacher_api_key: {KEY}}}\ntasks: [a]\n")
        chosen = ["--config", str(tmp_path / "run.yaml")]
    said = command_line(monkeypatch, *chosen, "--tasks", "relay_words", "--include_path", str(folder))
    assert "RELAY_TEACHER_API_KEY" in said
    out, err = capfd.readouterr()
    assert KEY not in said + out + err


def test_an_unknown_argument_ends_the_command_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    said = command_line(monkeypatch, "--model", "relay", "--model_args", "max_cals=5", "--tasks", "relay_words")
    assert said == "relay: a relay has no argument 'max_cals'; did you mean max_calls?"


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({"until": ["\n\n", ""], "max_gen_toks": 9}, {"stop": ("END", "\n\n"), "max_tokens": 9}),
        ({"until": "Q:"}, {"stop": ("END", "Q:")}),
        ({"max_new_tokens": 7, "max_tokens": 8}, {"stop": ("END",), "max_tokens": 7}),
        ({"do_sample": False, "temperature": 0.7}, {"stop": ("END",), "temperature": 0.0}),
        ({"do_sample": True, "temperature": 0.7, "top_p": 0.9}, {"stop": ("END",), "temperature": 0.7, "top_p": 0.9}),
        ({"top_k": -1, "num_beams": 1, "seed": 3, "max_calls": 2},
         {"stop": ("END",), "top_k": None, "seed": 3, "max_calls": 2}),
    ],
)  # fmt: skip
def test_the_options_of_a_task_become_settings(options: dict[str, Any], settings: dict[str, Any]) -> None:
    assert overrides(options, RelaySettings(stop=("END",))) == settings


@pytest.mark.parametrize("options", [{"num_beams": 4}, {"repetition_penalty": 1.1}])
def test_an_option_that_a_relay_lacks_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"does not know the generation argument '{next(iter(options))}'"):
        overrides(options, RelaySettings())


def test_a_chat_keeps_its_turns_and_the_beginning_of_its_answer() -> None:
    student = ScriptedEngine("= 4", record=True)
    model = RelayLM(student=student, teacher=None)
    chat = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "2 + 2?"}]
    prompt = model.apply_chat_template([*chat, {"role": "assistant", "content": "2 + 2 "}], add_generation_prompt=False)
    assert isinstance(prompt, ChatPrompt)
    assert model.generate_until(request(prompt, until=[]), disable_tqdm=True) == ["= 4"]
    sent = student.requests[0][0].text
    assert "Be short." in sent and sent.endswith("2 + 2 ")
    assert model.get_model_info()["relay"]["answers"] == 1


def test_repeats_of_a_request_have_seeds_of_their_own() -> None:
    student = ScriptedEngine("a", record=True)
    model = RelayLM(student=student, teacher=None, seed=7, temperature=1.0)
    model.generate_until(request("x", repeats=3, do_sample=True), disable_tqdm=True)
    assert sorted(sampling.seed or 0 for _, sampling in student.requests) == [7, 8, 9]
