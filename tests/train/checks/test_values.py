import pytest

from relay_core import ConfigurationError
from relay_core.train.checks import values
from relay_core.train.checks.findings import Inspection, Level
from relay_core.train.recipe import build


def found(check, sections, world=1):
    return list(check(Inspection(build(sections), None, world)))


def errors(check, sections):
    return [text for level, text in found(check, sections) if level is Level.ERROR]


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"lora": {"r": 8}}, "pip install peft"),
        ({"grpo": {"policy": "colocate"}}, "which needs vllm"),
        ({"grpo": {"trainer": {"report_to": "tensorbord"}}}, "nobody is called tensorbord"),
        ({"warmup": {"trainer": {"report_to": ["wandb"]}}}, "pip install wandb"),
        ({"grpo": {"trainer": {"optim": "adamw_8bit"}}}, "pip install bitsandbytes"),
    ],
)
def test_packages(sections, expected, monkeypatch):
    monkeypatch.setattr(values, "find_spec", lambda name: None)
    assert expected in "; ".join(errors(values.packages, sections))


def test_all_packages_are_there(monkeypatch):
    assert errors(values.packages, {}) == []
    assert errors(values.packages, {"grpo": {"trainer": {"report_to": "none"}}}) == []


def test_the_policy_and_the_launcher(monkeypatch):
    assert errors(values.policy, {}) == []
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert "write colocate or server" in errors(values.policy, {})[0]
    assert errors(values.policy, {"grpo": {"policy": "colocate"}}) == []


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
