"""The files in recipes/: each builds, TRL takes its values, accelerate takes its configurations."""

from importlib import resources
from pathlib import Path

import pytest

from relay_core.train import recipe
from relay_core.train.checks import values
from relay_core.train.checks.findings import Inspection, Level

ACCELERATE = sorted((Path(str(resources.files("relay_core.train"))) / "recipes" / "accelerate").glob("*.yaml"))


@pytest.mark.parametrize("name", recipe.shipped())
def test_its_values_are_taken(name, tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    off = {f"{section}.trainer.bf16": False for section in ("warmup", "grpo")} if name.startswith("qwen3") else {}
    inspection = Inspection(recipe.load(name, off), tmp_path, 1)
    assert [level for level, _ in (*values.batches(inspection), *values.trl_values(inspection))] == [Level.OK] * 2


def test_the_papers_values_stand_in_the_recipes_of_qwen3():
    for size, rate in (("0.6b", 2e-5), ("1.7b", 1e-5)):
        made = recipe.load(f"qwen3-{size}")
        grpo, trainer = made.grpo, made.grpo.trainer
        assert (grpo.prompts, grpo.group_size, grpo.updates, grpo.temperature) == (128, 8, 4, 1.0)
        assert (trainer["learning_rate"], trainer["weight_decay"], trainer["beta"]) == (1e-6, 0.01, 0.01)
        assert (trainer["max_grad_norm"], trainer["loss_type"]) == (1.0, "grpo")
        assert trainer["use_bias_correction_kl"] is False and trainer["bf16"] and trainer["gradient_checkpointing"]
        assert (made.filter.samples, made.filter.temperature, made.filter.top_p, made.filter.keep) == (
            10,
            0.7,
            0.95,
            0.5,
        )
        assert made.warmup.trainer["learning_rate"] == rate and made.warmup.max_commands == 3
        assert (
            made.warmup.batch_size == 32 and made.warmup.problems == 30_000 and list(made.warmup.powers) == [0, 1, 2, 3]
        )
        assert (made.settings().max_tokens, made.settings().max_calls) == (8192, 5)


@pytest.mark.parametrize("file", ACCELERATE, ids=lambda file: file.stem)
def test_accelerate_takes_the_file(file):
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    config = load_config_from_file(str(file))
    known = vars(launch_command_parser().parse_args(["script.py"]))
    for section, prefix in (("fsdp_config", "fsdp_"), ("deepspeed_config", "")):
        for name in getattr(config, section):
            assert name in known or f"{prefix}{name.removeprefix(prefix)}" in known, name
    assert config.num_processes >= 1 and config.mixed_precision == "bf16"


@pytest.mark.parametrize("file", ACCELERATE, ids=lambda file: file.stem)
def test_the_command_in_its_head_is_one_that_runs(file):
    """The line's own arguments are read by accelerate, and what follows -m by training."""
    import shlex

    from accelerate.commands.launch import launch_command_parser

    from relay_core.train.__main__ import parse

    head = [line.removeprefix("#") for line in file.read_text().splitlines() if line.startswith("#     ")]
    words = shlex.split("".join(line.rstrip().removesuffix("\\") + " " for line in head))
    assert words[:2] == ["accelerate", "launch"]
    args = launch_command_parser().parse_args(words[2:])
    assert args.module and args.training_script == "relay_core.train" and Path(args.config_file).name == file.name
    given, _ = parse(args.training_script_args)
    assert given.stage == "all" and given.recipe in recipe.shipped()
