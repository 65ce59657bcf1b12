"""TRL trains on exactly the ids and the mask that the transcripts hold."""

import contextlib
import json

import pytest

from relay_core import ConfigurationError, Relay, ScriptedEngine
from relay_core.errors import TrainingError
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
    rows, state = grpo.run(model, words, teacher, FixedTask(problems), problems, recipe, tmp_path)
    assert state is None

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
    import pyarrow.parquet

    answers = pyarrow.parquet.read_table(tmp_path / "rollouts" / "step-00002.parquet").to_pylist()
    assert [tuple(answer["completion_ids"]) for answer in answers] == [expected.token_ids] * 4
    assert [answer["correct"] for answer in answers].count(True) == 2
    assert {len({answer["problem"] for answer in answers[i : i + 2]}) for i in (0, 2)} == {1}


def trainer_of(model, words, folder, *, tokens_per_forward=1 << 20, **values):
    from datasets import Dataset
    from trl import GRPOConfig

    from relay_core.train.grpo_trainer import RelayGRPOTrainer
    from relay_core.train.trainer import arguments, common_values

    common = {**common_values(folder, seed=0), "per_device_train_batch_size": 2, "num_generations": 2, "max_steps": 1}
    return RelayGRPOTrainer(
        model=model, args=arguments(GRPOConfig, "grpo", {**common, **values}), reward_funcs=[lambda **_: [0.0]],
        train_dataset=Dataset.from_list([{"prompt": "a"}]), processing_class=words,
        tokens_per_forward=tokens_per_forward, on_rollout=lambda *_: None,
    )  # fmt: skip


def batch(words, rows=70):
    """Rows with padding on both sides, as TRL's scored rollout has them."""
    import torch

    generator = torch.Generator().manual_seed(0)
    lengths = [(int(p), int(c)) for p, c in torch.randint(1, 20, (rows, 2), generator=generator)]
    prompt_mask = torch.tensor([[0] * (20 - p) + [1] * p for p, _ in lengths])
    mask = torch.tensor([[1] * c + [0] * (24 - c) for _, c in lengths])
    ids = torch.randint(0, len(words), (rows, 44), generator=generator)
    foreign = torch.randint(0, 2, mask.shape, generator=generator)
    return {
        "prompt_ids": ids[:, :20] * prompt_mask, "prompt_mask": prompt_mask,
        "completion_ids": ids[:, 20:] * mask, "completion_mask": mask, "tool_mask": foreign,
        "advantages": torch.randn(rows, generator=generator),
        "old_per_token_logps": -9 + torch.rand(mask.shape, generator=generator),
        "ref_per_token_logps": -9 + torch.rand(mask.shape, generator=generator),
        "num_items_in_batch": (mask * foreign).sum(),
    }  # fmt: skip


def test_cutting_padding_off_changes_no_log_probability(tmp_path, model_folder):
    import torch
    from trl import GRPOTrainer

    from relay_core.train import models

    model, words = models.load(str(model_folder))
    trainer = trainer_of(model, words, tmp_path, tokens_per_forward=300)
    rows = batch(words)
    ids = torch.cat([rows["prompt_ids"], rows["completion_ids"]], dim=1)
    mask = torch.cat([rows["prompt_mask"], rows["completion_mask"]], dim=1)
    with torch.no_grad():
        mine = trainer._get_per_token_logps_and_entropies(model, ids, mask, 24, compute_entropy=True)
        trls = GRPOTrainer._get_per_token_logps_and_entropies(trainer, model, ids, mask, 24, compute_entropy=True)
    for a, b in zip(mine[:2], trls[:2], strict=True):
        assert a.shape == b.shape == (70, 24)
        torch.testing.assert_close(a * mask[:, 20:], b * mask[:, 20:], atol=1e-4, rtol=1e-4)
    assert (mine[0] * mask[:, 20:]).abs().sum() > 0


def one_update(folder, model_folder, rows, *, tokens_per_forward=1 << 20, **values):
    """The loss and the gradient of one update, and the rows of its passes."""
    import torch

    from relay_core.train import models

    model, words = models.load(str(model_folder))
    trainer = trainer_of(model, words, folder, tokens_per_forward=tokens_per_forward, **values)
    trainer.current_gradient_accumulation_steps = 1
    trainer._buffered_inputs, trainer._step = [rows(words)] * 2, 1
    trainer.create_optimizer_and_scheduler(1)
    passes = []
    inner = trainer._compute_loss
    trainer._compute_loss = lambda m, part: passes.append(len(part["advantages"])) or inner(m, part)
    trainer.args.steps_per_generation = 2
    loss = trainer.training_step(model, None)
    return loss, torch.cat([p.grad.flatten() for p in model.parameters()]), passes


LOSSES = pytest.mark.parametrize("loss_type", ["grpo", "dapo", "bnpo", "dr_grpo"])


@LOSSES
def test_many_passes_have_the_loss_and_the_gradient_of_one(tmp_path, model_folder, loss_type):
    import torch

    values = {"loss_type": loss_type, "beta": 0.01, "use_bias_correction_kl": False}
    one = one_update(tmp_path, model_folder, batch, **values)
    many = one_update(tmp_path, model_folder, batch, tokens_per_forward=100, **values)
    assert len(one[2]) == 1 and len(many[2]) > 10
    torch.testing.assert_close(many[0], one[0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(many[1], one[1], atol=1e-6, rtol=1e-4)
    assert one[1].abs().max() > 1e-4


def silent_batch(words, every=4, rows=70):
    """Rows of which one in ``every`` has an advantage, or none."""
    inputs = batch(words, rows)
    inputs["advantages"][[row for row in range(rows) if every is None or row % every]] = 0.0
    return inputs


@LOSSES
def test_answers_without_an_advantage_are_left_out_and_change_nothing(tmp_path, model_folder, loss_type, monkeypatch):
    import torch

    from relay_core.train import grpo_trainer

    without = one_update(tmp_path, model_folder, silent_batch, tokens_per_forward=300, loss_type=loss_type, beta=0.0)
    monkeypatch.setattr(grpo_trainer, "silent_rows", lambda inputs: [])
    everything = one_update(tmp_path, model_folder, silent_batch, tokens_per_forward=300, loss_type=loss_type, beta=0.0)
    assert sum(without[2]) == 18 and sum(everything[2]) == 70
    torch.testing.assert_close(without[0], everything[0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(without[1], everything[1], atol=1e-6, rtol=1e-4)
    assert without[1].abs().max() > 1e-4


@pytest.mark.parametrize("values", [{"beta": 0.01}, {"beta": 0.0, "entropy_coef": 0.01}])
def test_a_loss_with_other_terms_is_computed_on_all_answers(tmp_path, model_folder, values):
    values = {"use_bias_correction_kl": False, **values}
    assert sum(one_update(tmp_path, model_folder, silent_batch, **values)[2]) == 70


def test_a_batch_without_any_advantage_is_one_pass_and_no_gradient(tmp_path, model_folder):
    def nothing(words):
        return silent_batch(words, every=None, rows=6)

    loss, gradient, passes = one_update(tmp_path, model_folder, nothing, beta=0.0)
    assert passes == [1] and loss == 0.0 and gradient.abs().max() == 0.0


def test_all_processes_make_the_same_number_of_passes(tmp_path, model_folder, monkeypatch):
    from relay_core.train.grpo_trainer import RelayGRPOTrainer

    # another process makes 30 passes, and this one has 18 answers that change something
    monkeypatch.setattr(RelayGRPOTrainer, "_most", lambda self, lengths: 30)
    passes = one_update(tmp_path, model_folder, silent_batch, beta=0.0)[2]
    assert passes == [1] * 30


@pytest.mark.parametrize("bf16", [False, True])
def test_a_cpu_has_plain_attention_in_bfloat16_only(tmp_path, model_folder, bf16):
    import torch

    from relay_core.train import models

    fused = torch.backends.cuda.flash_sdp_enabled  # of CPUs, too
    model, words = models.load(str(model_folder))
    trainer = trainer_of(model, words, tmp_path, bf16=bf16)
    with trainer.compute_loss_context_manager():
        assert fused() is not bf16
    assert fused()


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint(tmp_path, model_folder, monkeypatch):
    from trl import GRPOTrainer

    from relay_core.train import models

    model, words = models.load(str(model_folder))
    student = Pausable(lambda prompt: "\\boxed{282}.", words)
    monkeypatch.setattr(models, "engine_on", lambda *a: student)
    inner = GRPOTrainer._compute_loss
    monkeypatch.setattr(
        GRPOTrainer, "_compute_loss",
        lambda self, m, inputs: inner(self, m, inputs) * (float("nan") if self.state.global_step == 1 else 1),
    )  # fmt: skip
    recipe = build({
        "grpo": {"rollouts": 3, "prompts": 1, "group_size": 2, "updates": 1, "checkpoint_every": 1, "calls": False},
    })  # fmt: skip
    problems = [problem("6 * 47?", 282, "medium")]
    with pytest.raises(TrainingError, match="the loss is not finite at step 1: training has diverged"):
        grpo.run(model, words, None, FixedTask(problems), problems, recipe, tmp_path)
    assert [folder.name for folder in tmp_path.glob("checkpoint-*")] == ["checkpoint-1"]
    assert not student.resting


def drawn(folder):
    import pyarrow.parquet

    return {
        int(file.stem.removeprefix("step-")): pyarrow.parquet.read_table(file).to_pylist()
        for file in sorted((folder / "rollouts").glob("*.parquet"))
    }


def test_a_resumed_run_draws_the_problems_of_the_undisturbed_one(tmp_path, model_folder, monkeypatch):
    from relay_core.train import models

    problems = [problem(f"{i} * 47?", i * 47, "medium") for i in range(4)]  # an epoch is two rollouts of two

    def train(folder, stop_at=None):
        model, words = models.load(str(model_folder))
        student = Pausable(lambda prompt: "\\boxed{47}.", words)
        monkeypatch.setattr(models, "engine_on", lambda *a: student)
        values = {"rollouts": 6, "prompts": 2, "group_size": 2, "updates": 1, "checkpoint_every": 1, "calls": False}
        recipe = build({"grpo": values})
        if stop_at is not None:
            inner = Pausable.weights_changed

            def dies(self):
                inner(self)
                if self.told > stop_at:
                    raise KeyboardInterrupt

            student.weights_changed = lambda: dies(student)
        grpo.run(model, words, None, FixedTask(problems), problems, recipe, folder)

    train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", stop_at=3)
    train(tmp_path / "killed")
    whole, killed = drawn(tmp_path / "whole"), drawn(tmp_path / "killed")
    assert list(whole) == list(killed) == [0, 1, 2, 3, 4, 5]
    order = [[row["problem"] for row in rows] for rows in whole.values()]
    assert order == [[row["problem"] for row in rows] for rows in killed.values()]
    assert [row["seed"] for row in whole[5]] == [row["seed"] for row in killed[5]]
    assert order[:2] != order[2:4]  # each epoch has its own permutation
    figures = [json.loads(line)["step"] for line in (tmp_path / "killed" / "rollouts.jsonl").read_text().splitlines()]
    assert figures == [0, 1, 2, 3, 4, 5]


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
    rows, _ = grpo.run(model, words, None, FixedTask(problems), problems, recipe, tmp_path)
    assert rows[0]["calls"] == 0 and rows[0]["accuracy"] == 1.0


def test_values_that_follow_from_others_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"grpo\.trainer\.num_generations follows from .*leave it out"):
        grpo.trainer_values(build({"grpo": {"trainer": {"num_generations": 4}}}), tmp_path, 1)
    values = grpo.trainer_values(build({"grpo": {"prompts": 8, "group_size": 4, "updates": 2}}), tmp_path, 2)
    assert values["per_device_train_batch_size"] == 8 and values["loss_type"] == "grpo"
    with pytest.raises(ConfigurationError, match=r"6 groups cannot be shared evenly by 2 processes .*multiple of 4"):
        grpo.check_batches(6, 2, 2)
