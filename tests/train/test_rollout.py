import contextlib

import pytest

from relay_core import EngineError, Relay, RelaySettings, ScriptedEngine
from relay_core.errors import TrainingError
from relay_core.train.recipe import build
from relay_core.train.rollout import Rollout, columns, row
from testing.tasks import FixedTask, problem

STUDENT = [["47 * 6 = <call>3</call>"], [". The answer is \\boxed{282}."]]


def relay(qwen3, student=STUDENT, teacher="282", **settings):
    settings = {"on_teacher_stop": "continue", **settings}
    return Relay(
        ScriptedEngine(student, qwen3, logprob=-0.5), ScriptedEngine(teacher, qwen3, logprob=-0.1),
        RelaySettings(**settings),
    )  # fmt: skip


async def test_fault_04_the_command_stays_in_the_training_row(qwen3):
    r = row(await relay(qwen3).agenerate("47 * 6?"))
    end = qwen3.hf.eos_token_id
    before, after = qwen3.encode("47 * 6 = <call>3</call>"), qwen3.encode(". The answer is \\boxed{282}.")
    assert r["completion_ids"] == [*before, *qwen3.encode("282"), *after, end]
    assert r["env_mask"][: len(before)] == [1] * len(before)  # nothing of the student's turn is taken back
    assert r["called"] and r["calls"] == 1


async def test_fault_06_the_teachers_tokens_are_masked_and_only_they(qwen3):
    r = row(await relay(qwen3).agenerate("47 * 6?"))
    teacher = [i for i, m in zip(r["completion_ids"], r["env_mask"], strict=True) if m == 0]
    assert teacher == qwen3.encode("282")
    assert len(r["completion_ids"]) == len(r["env_mask"]) == len(r["logprobs"])


async def test_fault_07_training_and_measurement_have_the_same_limits(qwen3):
    recipe = build({"relay": {"max_calls": 3, "max_tokens": 200, "on_teacher_stop": "continue"}})
    student = [["<call>1</call>"]] * 6 + [["\\boxed{1}"]]
    training = Relay(ScriptedEngine(student, qwen3), ScriptedEngine("2", qwen3), recipe.settings())
    trained = row(await training.agenerate("?", temperature=1.0))
    from relay_core.evaluate.measure import measure

    task = FixedTask([problem("?", 1, "easy")])
    relay = Relay(training.student, training.teacher)
    measured = await measure(relay, task, task.fixed, **{**recipe.relay, "temperature": 0.0})
    assert trained["calls"] == measured.usage.calls == 3


async def test_fault_08_the_call_ratio_counts_received_tokens_not_requested_ones(qwen3):
    student = [["47 * 6 = <call>90</call>"], [". The answer is \\boxed{282}."]]
    r = row(await relay(qwen3, student).agenerate("47 * 6?"))
    assert r["requested"] == [90]
    assert r["teacher_tokens"] == 3
    assert r["call_ratio"] == pytest.approx(3 / r["tokens"])
    nothing = row(await relay(qwen3, student, [[EngineError("down")]]).agenerate("47 * 6?"))
    assert nothing["call_ratio"] == 0 and nothing["calls"] == 1 and not nothing["called"]


async def test_an_answer_that_a_limit_cut_off_is_marked_truncated(qwen3):
    r = row(await relay(qwen3, "\\boxed{282} and so on", max_tokens=6).agenerate("47 * 6?"))
    assert r["truncated"] and len(r["completion_ids"]) == 6


async def test_teacher_tokens_of_another_vocabulary_are_encoded_in_the_students(qwen3, tokenizer):
    student = ScriptedEngine(STUDENT, tokenizer)
    settings = RelaySettings(on_teacher_stop="continue")
    r = row(await Relay(student, ScriptedEngine("282", qwen3), settings).agenerate("?"))
    words = student.tokenizer
    assert [i for i, m in zip(r["completion_ids"], r["env_mask"], strict=True) if m == 0] == words.encode("282")
    assert [x for x, m in zip(r["logprobs"], r["env_mask"], strict=True) if m == 0] == [None] * 3


class Scripted:
    """A policy whose student is a script; notes when it was told to be ready."""

    def __init__(self, engine):
        self.engine, self.ready = engine, []

    @contextlib.contextmanager
    def generating(self, trainer):
        self.ready.append(trainer.state.global_step)
        yield


class _Trainer:
    class state:
        global_step = 8


def rollout_of(student, teacher=None, **options):
    policy = Scripted(student)
    options = {"run_seed": 3, "temperature": 1.0, **options}
    return policy, Rollout(policy, lambda: Relay(student, teacher), **options)


PROMPTS = [[{"role": "user", "content": str(i)}] for i in range(6)]


def test_a_rollout_answers_in_order_each_with_its_own_seed(qwen3):
    student = ScriptedEngine(lambda prompt: f"\\boxed{{{prompt.messages[-1]['content']}}}", qwen3, record=True)
    policy, rollout = rollout_of(student)
    out = rollout(PROMPTS, _Trainer())
    assert out["text"] == [f"\\boxed{{{i}}}" for i in range(6)]
    assert set(out) >= {"prompt_ids", "completion_ids", "logprobs", "env_mask"}
    assert policy.ready == [8] and [row["text"] for row in rollout.rows] == out["text"]
    assert {s.temperature for _, s in student.requests} == {1.0}
    assert len(set(out["seed"])) == 6 and set(out["seed"]) == {s.seed for _, s in student.requests}
    assert rollout(PROMPTS, _Trainer())["seed"] == out["seed"]
    assert rollout([PROMPTS[0]] * 2, _Trainer())["seed"][0] == out["seed"][0]  # a group's answers differ
    assert len(set(rollout([PROMPTS[0]] * 2, _Trainer())["seed"])) == 2
    assert columns([]) == {}


def failing(until):
    """A teacher that fails in its first ``until`` requests."""
    asked = []

    def script(prompt):
        asked.append(prompt)
        return [EngineError("gone")] if len(asked) <= until else "282"

    return script


async def test_fault_09_an_answer_with_a_failed_call_is_masked_as_a_whole(qwen3):
    r = row(await relay(qwen3, teacher=failing(1)).agenerate("47 * 6?"))
    assert r["dropped"] and r["failed_calls"] == 1 and not r["called"]
    assert set(r["env_mask"]) == {0} and len(r["env_mask"]) == len(r["completion_ids"])
    whole = row(await relay(qwen3).agenerate("47 * 6?"))
    assert not whole["dropped"] and 1 in whole["env_mask"]


def test_a_teacher_that_comes_back_is_waited_for(qwen3, monkeypatch, capsys):
    monkeypatch.setattr("relay_core.train.rollout._PAUSES", (0.0,))
    student = ScriptedEngine(lambda prompt: "<call>3</call>" if "282" not in prompt.text else "\\boxed{282}", qwen3)
    _, rollout = rollout_of(student, ScriptedEngine(failing(7), qwen3))
    out = rollout(PROMPTS, _Trainer())
    assert out["dropped"] == [False] * 6 and {t[:3] for t in out["text"]} == {"282"}
    assert "the teacher failed in 6 of 6 answers (gone); asking again" in capsys.readouterr().err


def test_a_teacher_that_does_not_come_back_ends_the_run(qwen3, monkeypatch):
    monkeypatch.setattr("relay_core.train.rollout._PAUSES", (0.01,))
    student = ScriptedEngine("<call>3</call>", qwen3)
    _, rollout = rollout_of(student, ScriptedEngine(failing(10**6), qwen3), patience_s=0.05)
    with pytest.raises(TrainingError, match=r"failed in 6 of 6 answers .*gone.*resumes at the last checkpoint"):
        rollout(PROMPTS, _Trainer())
