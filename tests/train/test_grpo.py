"""TRL trains on exactly the ids and the mask that the transcripts hold."""

import pytest

from relay_core import ConfigurationError, Relay, ScriptedEngine
from relay_core.train import grpo
from relay_core.train.recipe import build
from testing.tasks import FixedTask, problem


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
    rows = grpo.run(model, words, teacher, FixedTask(problems), problems, recipe, tmp_path)

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
    from relay_core.train.trainer import arguments, common_values
    from relay_core.train.unpadded import TrimmedGRPOTrainer

    model, words = models.load(str(model_folder))
    values = {**common_values(tmp_path, seed=0), "per_device_train_batch_size": 2, "num_generations": 2, "max_steps": 1}
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


def test_too_few_problems_for_a_rollout_are_refused(tmp_path):
    recipe = build({"grpo": {"prompts": 2, "group_size": 2}})
    with pytest.raises(ConfigurationError, match="1 problems are fewer than one rollout's 2"):
        grpo.run(None, None, None, FixedTask(), [problem("?", 1, "easy")], recipe, tmp_path)


def test_plain_grpo_never_calls(tmp_path, model_folder, monkeypatch):
    from relay_core.train import models

    model, words = models.load(str(model_folder))
    student = Pausable(lambda prompt: "<call>3</call> \\boxed{282}.", words)
    monkeypatch.setattr(models, "engine_on", lambda *a: student)
    recipe = build({"grpo": {"rollouts": 1, "prompts": 1, "group_size": 2, "updates": 1, "calls": False}})
    problems = [problem("6 * 47?", 282, "medium")]
    rows = grpo.run(model, words, None, FixedTask(problems), problems, recipe, tmp_path)
    assert rows[0]["calls"] == 0 and rows[0]["accuracy"] == 1.0
