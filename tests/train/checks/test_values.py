import pytest

from relay_core import ConfigurationError
from relay_core.train.checks import values
from relay_core.train.checks.findings import Check, Inspection, Level
from relay_core.train.recipe import build


def found(check, sections, world=1):
    return list(check(Inspection(build(sections), None, world)))


def errors(check, sections):
    return [text for level, text in found(check, sections) if level is Level.ERROR]


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"lora": {"r": 8}}, "which needs peft"),
        ({"grpo": {"trainer": {"report_to": "tensorbord"}}}, "did you mean tensorboard"),
        ({"warmup": {"trainer": {"report_to": ["comet_ml"]}}}, "warmup.trainer.report_to: comet_ml"),
        ({"grpo": {"trainer": {"optim": "adamw_8bit"}}}, "pip install bitsandbytes"),
    ],
)
def test_packages(sections, expected, monkeypatch):
    monkeypatch.setattr(values, "find_spec", lambda name: None)
    report = list(Check("packages", values.packages).run(Inspection(build(sections), None, 1)))
    assert expected in "; ".join(f.text for f in report if f.level is Level.ERROR)


def test_all_packages_are_there():
    assert errors(values.packages, {}) == []
    assert errors(values.packages, {"grpo": {"trainer": {"report_to": "none"}}}) == []


def test_the_policy_and_the_launcher(monkeypatch):
    assert errors(values.policy, {}) == []
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert "write colocate or server" in errors(values.policy, {})[0]
    monkeypatch.setattr(values, "policy_for", lambda recipe, tokenizer: None)  # vLLM is not installed everywhere
    assert errors(values.policy, {"grpo": {"policy": "colocate"}}) == []


def test_values_that_contradict_the_policy():
    with pytest.raises(ConfigurationError, match=r"use_vllm is decided by grpo\.policy"):
        list(values.policy(Inspection(build({"grpo": {"trainer": {"use_vllm": True}}}), None, 1)))


def test_a_bill_needs_prices():
    assert "relay.prices" in errors(values.policy, {"grpo": {"reward": "bill"}})[0]
    prices = {"relay": {"prices": {"teacher_output": 1.0}}, "grpo": {"reward": "bill"}}
    assert errors(values.policy, prices) == []


def test_batches_on_several_processes():
    (level, text), = found(values.batches, {"grpo": {"prompts": 16, "updates": 2}}, world=4)  # fmt: skip
    assert level is Level.OK and "16 prompts x 8 answers = 2 updates x 4 processes x 16 answers" in text
    with pytest.raises(ConfigurationError, match="multiple of 6"):
        found(values.batches, {"grpo": {"prompts": 16, "updates": 2}}, world=3)
    assert "raise filter.problems" in errors(values.batches, {"filter": {"problems": 8}})[0]


def test_values_that_trl_refuses(tmp_path):
    def refused(section, trainer):
        with pytest.raises(ConfigurationError) as error:
            list(values.trl_values(Inspection(build({section: {"trainer": trainer}}), tmp_path, 1)))
        return str(error.value)

    assert "did you mean learning_rate" in refused("warmup", {"learning_rat": 1})
    assert "grpo.trainer" in refused("grpo", {"loss_type": "grop", "lr_scheduler_type": "nonsense"})
    assert "must be false" in refused("grpo", {"mask_truncated_completions": True})
    assert not list(tmp_path.iterdir())


def test_a_warm_up_of_few_steps():
    ((level, text),) = found(values.warm_up, {"warmup": {"problems": 100, "trainer": {"num_train_epochs": 2}}})
    assert level is Level.WARNING and "warm-up has 7 optimizer steps" in text and "warmup.draws" in text
    ((level, _),) = found(values.warm_up, {"warmup": {"problems": 100, "trainer": {"max_steps": 50}}})
    assert level is Level.OK
    assert not found(values.warm_up, {"warmup": {"problems": 100, "source": "guided"}})
