import pytest

from relay_core.errors import ConfigurationError
from relay_core.train.recipe import build, load, shipped


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
        ({"task": "chess"}, "write bundled"),
    ],
)
def test_bad_values_are_refused(values, says):
    with pytest.raises(ConfigurationError, match=says.replace("?", r"\?")):
        build(values)


def test_the_error_for_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(ConfigurationError, match="bundled"):
        load("bundle")
