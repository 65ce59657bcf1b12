"""A teacher that answers, one that does not, and the arithmetic of the estimate."""

import pytest

from relay_core import ConfigurationError, RelayError, ScriptedEngine
from relay_core.train.checks import trial
from relay_core.train.checks.findings import Inspection, Level
from relay_core.train.recipe import build

COUNTS = {"warmup": {"problems": 4}, "filter": {"problems": 4}, "measure": {"problems": 2}}


def inspected(folder, tmp_path, teacher=None, **sections):
    values = {"student": str(folder), "teacher": teacher or str(folder), "relay": {"max_tokens": 24}}
    return Inspection(build({**COUNTS, **values, **sections}), tmp_path, 1)


@pytest.fixture
def inspection(model_folder, tmp_path):
    from relay_core import portal

    made = inspected(model_folder, tmp_path)
    yield made
    if made.teacher is not None:
        portal.run(made.teacher.aclose)


def test_a_teacher_in_this_process(inspection):
    ((level, text),) = trial.teacher(inspection)
    assert level in (Level.OK, Level.WARNING) and "behind 'The answer is '" in text
    assert inspection.teacher is not None and inspection.teacher.context_length


def test_a_teacher_that_nobody_serves(model_folder, tmp_path):
    with pytest.raises(RelayError, match=r"127\.0\.0\.1:9"):
        list(trial.teacher(inspected(model_folder, tmp_path, "openai:m@http://127.0.0.1:9/v1?retries=0")))


def test_a_teacher_that_cannot_do_what_warm_up_needs(model_folder, tmp_path, monkeypatch, tokenizer):
    monkeypatch.setattr(trial.models, "sampling_engine", lambda *args, **options: ScriptedEngine("x", tokenizer))
    for warmup, says in (
        ({"source": "guided"}, "cannot: write a teacher"),
        ({"source": "told", "instructions": "x"}, "x"),
    ):
        with pytest.raises(ConfigurationError, match=rf"warmup\..*{says}"):
            list(trial.teacher(inspected(model_folder, tmp_path, warmup={"problems": 4, **warmup})))
    inspection = inspected(model_folder, tmp_path, warmup={"problems": 4, "source": "guided"}, grpo={"calls": False})
    assert len(list(trial.teacher(inspection))) == 2, "plain GRPO has no warm-up"


def test_nothing_is_loaded_where_the_memory_does_not_suffice(inspection):
    inspection.no_models = "the memory does not suffice"
    assert [level for level, _ in trial.teacher(inspection)] == [Level.WARNING]
    assert [level for level, _ in trial.rollout(inspection)] == [Level.WARNING]
    assert inspection.teacher is None


def test_a_rollout_is_estimated_from_a_few_answers(inspection):
    list(trial.teacher(inspection))
    level, text = list(trial.rollout(inspection))[-1]
    assert level is Level.OK and "512 answers" in text and "24 tokens each" in text and "an estimate from 4" in text


def test_the_teacher_alone(model_folder, tmp_path, tokenizer):
    inspection = inspected(model_folder, tmp_path)
    assert not list(trial.pass_rate(inspection)), "no teacher was started"
    right = inspection.problems["filter"][0].solution
    inspection.started(ScriptedEngine(lambda prompt: right, tokenizer))
    (level, text), = trial.pass_rate(inspection)  # fmt: skip
    assert level is Level.WARNING and "cut off" in text  # max_tokens is 24
    inspection = inspected(model_folder, tmp_path, relay={"max_tokens": 500})
    inspection.started(ScriptedEngine(lambda prompt: right, tokenizer))
    (level, text), = trial.pass_rate(inspection)  # fmt: skip
    assert level is Level.OK and "answers 1 of 4 problems right" in text
    inspection.started(ScriptedEngine("no", tokenizer))
    (level, text), = trial.pass_rate(inspection)  # fmt: skip
    assert level is Level.WARNING and "the filter would keep nothing" in text and "'no'" in text
    assert not list(trial.pass_rate(inspected(model_folder, tmp_path, filter={"problems": 4, "enabled": False})))


def test_a_student_that_cannot_be_trained(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be trained here"):
        list(trial.rollout(inspected("openai:m@http://127.0.0.1:9/v1", tmp_path, grpo={"calls": False})))


@pytest.mark.parametrize(("seconds", "text"), [(40, "40 s"), (119, "119 s"), (600, "10.0 min"), (9000, "2.5 h")])
def test_durations(seconds, text):
    assert trial._duration(seconds) == text
