import dataclasses
import re

import pytest

from relay_core.errors import ConfigurationError
from relay_core.train.recipe import Recipe, build, load, shipped
from relay_core.train.sections import Filter, Grpo, Lora, Measure, Warmup


def test_the_bundled_recipe_ships_and_holds_the_papers_values():
    assert shipped() == ["bundled", "qwen3-0.6b", "qwen3-1.7b", "smoke", "smollm2-135m"]
    recipe = load("bundled")
    assert (recipe.student, recipe.teacher) == ("bundled:student-base", "bundled:teacher")
    assert (recipe.filter.samples, recipe.filter.keep) == (10, 0.5)
    assert (recipe.filter.temperature, recipe.filter.top_p) == (0.7, 0.95)
    assert recipe.grpo.group_size == 8
    assert recipe.grpo.temperature == 1.0
    assert recipe.grpo.reward == "difficulty_aware"
    trainer = recipe.grpo.trainer
    assert (trainer["beta"], trainer["max_grad_norm"], trainer["weight_decay"]) == (0.01, 1.0, 0.01)
    assert recipe.warmup.max_commands == 3


def test_flags_replace_values():
    recipe = load("bundled", {"seed": 3, "grpo.rollouts": 5, "grpo.trainer.learning_rate": 1e-5})
    assert (recipe.seed, recipe.grpo.rollouts, recipe.grpo.trainer["learning_rate"]) == (3, 5, 1e-5)
    assert recipe.grpo.group_size == load("bundled").grpo.group_size
    assert recipe.grpo.trainer["beta"] == 0.01


def test_another_task_has_no_shares_of_the_recipes_groups(tmp_path):
    file = tmp_path / "sums.jsonl"
    file.write_text('{"question": "1 + 1?", "answer": 2}\n')
    assert load("bundled").warmup.mix == {"easy": 0.4, "medium": 0.5, "hard": 0.1}
    recipe = load("bundled", {"task.grader": "number", "task": str(file), "filter.mix": {"a": 1.0}})
    assert recipe.task == {"path": str(file), "grader": "number"}
    assert recipe.warmup.mix is None and recipe.filter.mix == {"a": 1.0}


def test_a_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("student: Qwen/Qwen3-0.6B\nfilter: {keep: 0.7}\n")
    assert load(str(file)).filter.keep == 0.7


def test_a_task_from_a_mapping(tmp_path):
    file = tmp_path / "sums.jsonl"
    file.write_text('{"q": "1 + 1?", "answer": 2}\n')
    task = {"path": str(file), "question": "q", "grader": "number", "splits": {"train": 1.0}}
    recipe = build({"task": task})
    assert build(recipe.as_dict()).task == recipe.task == recipe.as_dict()["task"] == task
    with pytest.raises(ConfigurationError, match=r"did you mean question\?"):
        build({"task": {**task, "questoin": "q"}})


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"grop": {}}, "did you mean grpo?"),
        ({"grpo": {"rollout": 1}}, "did you mean grpo.rollouts?"),
        ({"grpo": 3}, "write a mapping"),
        ({"grpo": {"reward": "hard"}}, "difficulty_aware, simple or bill"),
        ({"grpo": {"group_size": 1}}, "at least 2"),
        ({"warmup": {"rounds": 0}}, "warmup.rounds is 0: write 1 or more"),
        ({"warmup": {"call_tokens": 0}}, "warmup.call_tokens is 0"),
        ({"grpo": {"prompts": 3, "group_size": 3, "updates": 2}}, "evenly"),
        ({"relay": {"max_token": 3}}, "did you mean max_tokens?"),
        ({"relay": {"trigger": "commands:bias=-2"}}, "relay.trigger is 'commands:bias=-2': .* leave the bias out here"),
        ({"task": "chess"}, "write bundled"),
        ({"grpo": {"rollouts": "three"}}, "grpo.rollouts is 'three': write a whole number"),
        ({"grpo": {"rollouts": 2.5}}, "grpo.rollouts is 2.5: write a whole number"),
        ({"grpo": {"prompts": True}}, "grpo.prompts is True: write a whole number"),
        ({"grpo": {"max_concurrency": "all"}}, "write a whole number or null"),
        ({"grpo": {"calls": "on"}}, "grpo.calls is 'on': write true or false"),
        ({"grpo": {"temperature": "1e-1"}}, "write a number .YAML reads 1e-4 as text"),
        ({"grpo": {"temperature": 0}}, "grpo.temperature is 0: write more than 0"),
        ({"grpo": {"trainer": [1]}}, "grpo.trainer is .1.: write a mapping"),
        ({"warmup": {"powers": 1}}, "warmup.powers is 1: write a list"),
        ({"warmup": {"powers": [0, "one"]}}, r"warmup.powers.1. is 'one': write a whole number"),
        ({"warmup": {"powers": []}}, "warmup.powers is empty"),
        ({"warmup": {"source": "guess"}}, "write random, guided, told or answers"),
        ({"warmup": {"mix": {"easy": "half"}}}, "warmup.mix.easy is 'half': write a number"),
        ({"filter": {"samples": 0}}, "filter.samples is 0: write 1 or more"),
        ({"filter": {"keep": 50}}, "filter.keep is 50: write at most 1"),
        ({"lora": {"r": "big"}}, "lora.r is 'big': write a whole number"),
        ({"measure": {"problems": None}}, "measure.problems is None: write a whole number"),
        ({"seed": "one"}, "seed is 'one': write a whole number"),
        ({"teacher": 3}, "teacher is 3: write text or a list"),
    ],
)
def test_bad_values_are_refused(values, says):
    with pytest.raises(ConfigurationError, match=says.replace("?", r"\?")):
        build(values)


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("rollouts", "the recipe has no --rollouts; did you mean --grpo.rollouts?"),
        ("grader", "--task.grader?"),
        ("max_tokens", "--relay.max_tokens?"),
        ("problems", "--warmup.problems or --filter.problems or --measure.problems?"),
        ("learning_rate", "--warmup.trainer.learning_rate or --grpo.trainer.learning_rate?"),
        ("sead", "did you mean seed?"),
    ],
)
def test_a_flag_without_its_section(flag, says):
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        load("bundled", {flag: 3})


@pytest.mark.parametrize("cls", [Recipe, Warmup, Filter, Grpo, Lora, Measure])
def test_every_field_refuses_a_value_of_another_kind(cls):
    for field in dataclasses.fields(cls):
        with pytest.raises(ConfigurationError, match=rf"{field.name} is .*: write "):
            cls(**{field.name: object()})


def test_the_error_for_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(ConfigurationError, match="bundled"):
        load("bundle")
