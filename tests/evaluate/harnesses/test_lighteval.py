"""A relay in lighteval: its own command line on local data, and the requests that it makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from lighteval.models.custom.custom_model import CustomModelConfig
from lighteval.models.model_input import GenerationParameters
from lighteval.tasks.registry import Registry
from lighteval.tasks.requests import Doc

import relay_core.evaluate.lighteval as adapter
from relay_core import Relay, ScriptedEngine
from relay_core.errors import ConfigurationError
from relay_core.evaluate.lighteval import RelayModel

from .conftest import KEY, Plain, run, written


def model(monkeypatch: pytest.MonkeyPatch, student: Any = None, arguments: str = "", **config: Any) -> RelayModel:
    monkeypatch.setenv("RELAY_MODEL_ARGS", arguments)
    made = RelayModel(CustomModelConfig(model_name="relay", model_definition_file_path=adapter.__file__, **config))
    if student is not None:
        made.model.relay = Relay(student, None, made.model.relay.settings)
    return made


def doc(**fields: Any) -> Doc:
    return Doc(**{"query": "2 + 2?", "choices": ["4"], "gold_index": 0, "task_name": "words|0", **fields})


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_generative_task_runs_to_the_end(folder: Path, plain: Plain) -> None:
    done = run(
        "lighteval", "custom", "relay", adapter.__file__, "words", "--custom-tasks", "lighteval_task.py",
        "--output-dir", "light", "--save-details", folder=folder,
        RELAY_MODEL_ARGS="student=bundled,teacher=bundled,max_calls=5",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = (folder / "light" / "results").rglob("*.json")
    stored = json.loads(file.read_text())
    assert stored["results"]["words|0"]["boxed"] == pytest.approx(plain.accuracy)
    relay = stored["config_general"]["model_config"]["relay"]
    assert {name: relay["usage"][name] for name in written(plain.usage)} == written(plain.usage)
    assert relay["answers"] == 10 and relay["settings"]["max_calls"] == 5
    (details,) = (folder / "light" / "details").rglob("*.parquet")
    answers = [row["model_response"] for row in pq.read_table(details).to_pylist()]
    assert sum(len(ids) for answer in answers for ids in answer["output_tokens"]) == plain.usage.completion_tokens
    assert f"relay: 10 answers; tokens written: student {plain.usage.student_tokens}, " in done.stderr
    assert KEY not in done.stdout + done.stderr + file.read_text()


def test_tasks_of_likelihoods_are_refused_before_anything_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = model(monkeypatch)._cache
    tasks = str(folder / "lighteval_task.py")
    cache._init_registry(Registry(tasks="words", custom_tasks=tasks))
    with pytest.raises(ConfigurationError, match=r"no likelihood.*: likely\|0 cannot"):
        cache._init_registry(Registry(tasks="words,likely", custom_tasks=tasks))


def test_a_request_for_a_likelihood_names_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    made = model(monkeypatch)
    for method in (made.loglikelihood, made.loglikelihood_rolling):
        with pytest.raises(ConfigurationError, match=r"no likelihood.*words\|0"):
            method([doc()])


def test_the_options_of_a_task_become_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    student = ScriptedEngine("a b c END d", record=True, honour_stop=True)
    shot = doc(query="1 + 1?", choices=["2"])
    (response,) = model(monkeypatch, student, system_prompt="Be short.").greedy_until(
        [doc(generation_size=9, stop_sequences=["END", ""], fewshot_samples=[shot])]
    )
    assert response.text == ["a b c "]
    prompt, sampling = student.requests[0]
    assert sampling.max_tokens == 9
    assert [m["role"] for m in prompt.messages or ()] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize("given", ["arguments", "parameters"])
def test_the_user_s_own_limit_comes_before_the_task_s(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    student = ScriptedEngine("a", record=True)
    parameters = {"generation_parameters": GenerationParameters(max_new_tokens=5)} if given == "parameters" else {}
    arguments = "max_tokens=5" if given == "arguments" else ""
    model(monkeypatch, student, arguments, **parameters).greedy_until([doc(generation_size=9)])
    assert student.requests[0][1].max_tokens == 5


def test_samples_have_seeds_of_their_own_and_are_refused_if_greedy(monkeypatch: pytest.MonkeyPatch) -> None:
    student = ScriptedEngine("a", record=True)
    (response,) = model(monkeypatch, student, "temperature=0.7,seed=7").greedy_until([doc(num_samples=3)])
    assert response.text == ["a", "a", "a"]
    assert sorted(sampling.seed or 0 for _, sampling in student.requests) == [7, 8, 9]
    with pytest.raises(ConfigurationError, match=r"words\|0 asks for 2 answers"):
        model(monkeypatch, student).greedy_until([doc(num_samples=2)])


@pytest.mark.parametrize(
    "arguments",
    [f"teacher_api_key={KEY}", f'{{"teacher_api_key": "{KEY}"}}', f'{{"a": "{KEY}"', f"max_cals={KEY}", KEY],
)
def test_arguments_that_cannot_be_used_are_refused_and_no_key_is_shown(
    arguments: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        model(monkeypatch, arguments=arguments)
    assert KEY not in f"{refused.value} {refused.value.__cause__} {refused.value.__context__}"


def test_a_generation_parameter_that_a_relay_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="no generation parameter 'repetition_penalty'"):
        model(monkeypatch, generation_parameters=GenerationParameters(repetition_penalty=1.2))
