import pytest

from relay_core import ConfigurationError
from relay_core.train.recipe import load
from relay_core.train.same_run import check


def changed(out, **values):
    values = {name.replace("__", "."): value for name, value in values.items()}
    return check(out, load("bundled").as_dict(), load("bundled", values).as_dict())


def write(out, *files):
    for file in files:
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        (out / file).write_text("{}")


def test_no_stage_has_written_anything(tmp_path):
    write(tmp_path, "recipe.yaml", "grpo/tensorboard/events")
    assert changed(tmp_path, seed=1, warmup__draws=7) is None


def test_values_of_stages_to_come(tmp_path):
    write(tmp_path, "student-warm/model.safetensors", "filter/answers.jsonl")
    said = changed(tmp_path, filter__keep=0.1, grpo__rollouts=3, measure__problems=4)
    assert all(part in said for part in ("filter.keep: 0.5 -> 0.1", "grpo.rollouts: ", "measure.problems: 300 -> 4"))
    assert changed(tmp_path) is None


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"filter__samples": 3}, "filter.samples: 10 -> 3"),
        ({"warmup__draws": 7}, "warmup.draws: "),
        ({"relay__max_calls": 99}, "relay.max_calls: "),
        ({"warmup__trainer__weight_decay": 0.5}, "warmup.trainer.weight_decay: "),
    ],
)
def test_values_of_stages_that_have_written(tmp_path, values, says):
    write(tmp_path, "warmup/samples.jsonl", "filter/answers.parts/part-0.jsonl")
    with pytest.raises(ConfigurationError, match=r"another recipe .*warmup and filter have written") as error:
        changed(tmp_path, filter__keep=0.1, **values)
    assert says in str(error.value) and "filter.keep" not in str(error.value)


@pytest.mark.parametrize("file", ["grpo/rollouts.jsonl", "grpo/checkpoint-2/x", "student-relay/model.safetensors"])
def test_what_grpo_has_trained_on_stays(tmp_path, file):
    write(tmp_path, file)
    with pytest.raises(ConfigurationError, match=r"filter\.keep: 0\.5 -> 0\.1.*grpo has written"):
        changed(tmp_path, filter__keep=0.1)


def test_at_most_a_few_are_named(tmp_path):
    write(tmp_path, "warmup/samples.jsonl")
    with pytest.raises(ConfigurationError, match="and 2 more"):
        changed(
            tmp_path, seed=1, threads=3, **{f"warmup__{n}": 7 for n in ("draws", "rounds", "call_tokens", "margin")}
        )
