import contextlib

import pytest

from relay_core import EngineError, Relay, RelaySettings, ScriptedEngine
from relay_core.train.policy import LivePolicy
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
    assert nothing["call_ratio"] == 0 and nothing["called"]


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


class _Model:
    training = True

    def eval(self):
        self.training = False

    def train(self, mode=True):
        self.training = mode


class _Trainer:
    def __init__(self):
        self.model = _Model()


class _Live:
    def __init__(self, trainer):
        self.told = []
        self.trainer = trainer
        self.resting = False

    def weights_changed(self):
        self.told.append((self.trainer.model.training, self.resting))

    @contextlib.contextmanager
    def paused(self):
        self.resting = True
        yield
        self.resting = False


def test_a_rollout_answers_in_order_on_new_weights_in_eval_mode(qwen3):
    trainer = _Trainer()
    live = _Live(trainer)
    student = ScriptedEngine(lambda prompt: f"\\boxed{{{prompt.messages[-1]['content']}}}", qwen3, record=True)
    policy = LivePolicy(live)
    rollout = Rollout(Relay(student, None), policy, overrides={"temperature": 1.0})
    prompts = [[{"role": "user", "content": str(i)}] for i in range(6)]
    out = rollout(prompts, trainer)
    assert out["text"] == [f"\\boxed{{{i}}}" for i in range(6)]
    assert set(out) >= {"prompt_ids", "completion_ids", "logprobs", "env_mask"}
    assert live.told == [(False, False)] and trainer.model.training and live.resting
    rollout(prompts[:1], trainer)
    assert live.told == [(False, False)] * 2 and live.resting
    policy.release()
    assert not live.resting
    assert {s.temperature for _, s in student.requests} == {1.0}
    assert columns([]) == {}
