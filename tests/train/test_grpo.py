"""Scoring, figures, and that TRL trains on exactly the ids and the mask that the transcripts hold."""

import json

import pytest

from relay_core import ConfigurationError, Relay, ScriptedEngine
from relay_core.train import grpo
from relay_core.train.recipe import Grpo, build
from relay_core.train.rewards import Outcome, Scenario
from relay_core.train.store import Journal

ALONE = Outcome(True, False, 0.0)
HELPED = Outcome(True, True, 0.25)
WRONG = Outcome(False, False, 0.0)
CALLED = Outcome(False, True, 0.25)
TWO = Grpo(group_size=2, prompts=2, updates=1)


def test_fault_05_a_group_is_scored_by_itself():
    lucky, stuck, lost = [ALONE, WRONG], [HELPED, WRONG], [CALLED, WRONG]
    ids = ["a", "a", "b", "b", "c", "c"]
    scored = grpo.score([*lucky, *stuck, *lost], ids, TWO)
    assert scored.rewards == [1.5, 0.0, 0.75, -1.0, 0.25, 0.0]
    assert scored.scenarios == [
        Scenario.STUDENT_SOLVABLE, Scenario.TEACHER_DEPENDENT, Scenario.TEACHER_UNSOLVABLE,
    ]  # fmt: skip
    # whatever the neighbours did
    assert grpo.score([*stuck, *lucky, *lost], ["b", "b", "a", "a", "c", "c"], TWO).rewards[:2] == [0.75, -1.0]


def test_switches():
    group, ids = [ALONE, WRONG, CALLED, WRONG], ["a", "a", "b", "b"]

    def rewards(**switches):
        return grpo.score(group, ids, Grpo(group_size=2, prompts=2, updates=1, **switches)).rewards

    assert rewards(reward="simple") == [1.0, 0.0, -0.25, 0.0]
    assert rewards(independence_bonus=False) == [1.0, 0.0, 0.25, 0.0]
    assert rewards(exploration=False) == [1.5, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("ids", [["a", "b"], ["a", "a", "b"], ["a", "a", "b", "c"]])
def test_a_group_that_is_not_whole_is_not_scored(ids):
    with pytest.raises(ConfigurationError, match="whole group of 2"):
        grpo.score([WRONG] * len(ids), ids, TWO)


COLUMNS = {
    "text": ["\\boxed{1}", "\\boxed{2}", "\\boxed{1}", "\\boxed{1}"],
    "truncated": [False, False, True, False],
    "called": [False, False, False, True],
    "call_ratio": [0.0, 0.0, 0.0, 0.1],
    "requested": [[], [], [], [4, 6]],
    "calls": [0, 0, 0, 2],
    "malformed": [0, 1, 0, 0],
    "tokens": [50, 50, 50, 50],
    "teacher_tokens": [0, 0, 0, 5],
}


def test_the_reward_function_writes_its_figures(tmp_path):
    from relay_core.bundled.task import grade

    said, logged = [], {}
    reward = grpo.GroupReward(TWO, grade, Journal(tmp_path / "rollouts.jsonl"), say=said.append)
    given = reward(
        problem=["a", "a", "b", "b"], band=["easy", "easy", "medium", "medium"], answer=[1, 1, 1, 1],
        log_metric=logged.__setitem__, **COLUMNS,
    )  # fmt: skip
    assert given == [1.5, 0.0, -1.0, 0.9]  # the truncated answer is wrong, though it holds the right number
    row = json.loads((tmp_path / "rollouts.jsonl").read_text())
    assert row["accuracy"] == 0.5 and row["accuracy/easy"] == 0.5 and row["called/medium"] == 0.5
    assert row["requested"] == 5 and row["call_ratio"] == pytest.approx(5 / 200)
    assert row["groups/student-solvable"] == row["groups/teacher-dependent"] == 0.5
    assert logged["relay/accuracy"] == 0.5 and "medium" in said[0]


def problem(text, answer, band):
    class P:
        messages = ({"role": "user", "content": text},)

    P.answer, P.band, P.id = answer, band, text
    return P


class Pausable(ScriptedEngine):
    """A scripted student where the live one would be."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.resting = False
        self.told = 0

    def weights_changed(self):
        self.told += 1

    def paused(self):
        import contextlib

        @contextlib.contextmanager
        def hold():
            self.resting = True
            yield
            self.resting = False

        return hold()


def test_the_trainer_trains_on_the_transcripts_ids_and_mask(tmp_path, tokenizer, model_folder, monkeypatch):
    from relay_core.train import models

    model, words = models.load(str(model_folder))
    student = Pausable([["6 * 47 = <call>3</call>"], [". The answer is \\boxed{282}."]], words)
    teacher = ScriptedEngine("282", words)
    monkeypatch.setattr(models, "engine_on", lambda *a: student)
    seen = []
    from trl import GRPOTrainer as trainer_class

    inner = trainer_class._compute_loss

    def spy(self, model, inputs):
        assert student.resting  # the engine rests while the trainer has the model
        seen.append({k: v.clone() for k, v in inputs.items() if hasattr(v, "clone")})
        return inner(self, model, inputs)

    monkeypatch.setattr(trainer_class, "_compute_loss", spy)
    recipe = build({
        "relay": {"max_tokens": 64, "on_teacher_stop": "continue"},
        "grpo": {"rollouts": 2, "prompts": 2, "group_size": 2, "updates": 2, "checkpoint_every": 1},
    })  # fmt: skip
    problems = [problem("6 * 47?", 282, "medium"), problem("3 * 50?", 150, "medium")]
    rows = grpo.run(model, words, teacher, problems, recipe, tmp_path, key=lambda p: p.id,
                    grade=lambda text, answer: f"{{{answer}}}" in text)  # fmt: skip

    expected = Relay(student, teacher, recipe.settings()).generate("6 * 47?").transcript.training_row()
    assert len(seen) == 4 and student.told == 2
    for batch in seen:
        for ids, mask, foreign in zip(
            batch["completion_ids"], batch["completion_mask"], batch["tool_mask"], strict=True
        ):
            n = int(mask.sum())
            assert tuple(ids[:n].tolist()) == expected.token_ids
            assert tuple(foreign[:n].tolist()) == expected.mask
            assert expected.mask.count(0) == 3
    assert [row["step"] for row in rows] == [0, 2]
    assert all(row["accuracy"] == 0.5 and row["called"] == 1.0 for row in rows)
    assert not student.resting


def test_cutting_padding_off_changes_no_log_probability(tmp_path, model_folder):
    import torch
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from relay_core.train import models
    from relay_core.train.trainer import arguments, plain
    from relay_core.train.unpadded import TrimmedGRPOTrainer

    model, words = models.load(str(model_folder))
    values = {**plain(tmp_path, seed=0), "per_device_train_batch_size": 2, "num_generations": 2, "max_steps": 1}
    trainer = TrimmedGRPOTrainer(
        model=model, args=arguments(GRPOConfig, "grpo", values), reward_funcs=[lambda **_: [0.0]],
        train_dataset=Dataset.from_list([{"prompt": "a"}]), processing_class=words,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    lengths = [(int(p), int(c)) for p, c in torch.randint(1, 20, (70, 2), generator=generator)]
    mask = torch.tensor([[0] * (20 - p) + [1] * p + [1] * c + [0] * (24 - c) for p, c in lengths])
    ids = torch.randint(0, len(words), mask.shape, generator=generator) * mask
    mine = trainer._get_per_token_logps_and_entropies(model, ids, mask, 24, compute_entropy=True)
    trls = GRPOTrainer._get_per_token_logps_and_entropies(trainer, model, ids, mask, 24, compute_entropy=True)
    for a, b in zip(mine[:2], trls[:2], strict=True):
        assert a.shape == b.shape == (70, 24)
        torch.testing.assert_close(a * mask[:, 20:], b * mask[:, 20:], atol=1e-4, rtol=1e-4)
    assert (mine[0] * mask[:, 20:]).abs().sum() > 0


def test_too_few_problems_for_a_rollout_is_said(tmp_path):
    recipe = build({"grpo": {"prompts": 2, "group_size": 2}})
    with pytest.raises(ConfigurationError, match="1 problems are fewer than one rollout's 2"):
        grpo.run(None, None, None, [problem("?", 1, "easy")], recipe, tmp_path, key=str, grade=str.__eq__)


def test_plain_grpo_never_calls(tmp_path, model_folder, monkeypatch):
    from relay_core.train import models

    model, words = models.load(str(model_folder))
    student = Pausable(lambda prompt: "<call>3</call> \\boxed{282}.", words)
    monkeypatch.setattr(models, "engine_on", lambda *a: student)
    recipe = build({"grpo": {"rollouts": 1, "prompts": 1, "group_size": 2, "updates": 1, "calls": False}})
    rows = grpo.run(model, words, None, [problem("6 * 47?", 282, "medium")], recipe, tmp_path, key=lambda p: p.id,
                    grade=lambda text, answer: True)  # fmt: skip
    assert rows[0]["calls"] == 0 and rows[0]["accuracy"] == 1.0
