"""What training cost: the time over several sittings, and the teacher's tokens."""

import json
import time

import pytest

from relay_core.train import cost


def seconds(out):
    return json.loads((out / "clock.json").read_text())


def test_the_time_of_a_stage_is_that_of_all_its_sittings(tmp_path):
    with cost.timed(tmp_path, "filter"):
        time.sleep(0.25)
    with pytest.raises(KeyError), cost.timed(tmp_path, "grpo"):
        raise KeyError
    first = seconds(tmp_path)
    assert first["filter"] >= 0.2 and first["grpo"] < first["filter"]
    with cost.timed(tmp_path, "filter"):
        time.sleep(0.25)
    assert seconds(tmp_path)["filter"] >= first["filter"] + 0.2 and seconds(tmp_path)["grpo"] == first["grpo"]


def test_a_kill_loses_little_of_the_time(tmp_path):
    with cost.timed(tmp_path, "warmup", every_s=0.05):
        deadline = time.monotonic() + 30
        while not ((tmp_path / "clock.json").exists() and seconds(tmp_path)["warmup"] >= 0.1):
            assert time.monotonic() < deadline, "nothing was written before the end"
            time.sleep(0.02)


def test_only_stages_that_ran_have_a_cost(tmp_path):
    assert cost.of_training(tmp_path) == {} and cost.sentence({}) == ""
    with cost.timed(tmp_path, "grpo"), cost.timed(tmp_path, "warmup"):
        pass
    costs = cost.of_training(tmp_path)
    assert list(costs) == ["warmup", "grpo"]
    assert {name: (one["teacher_read"], one["teacher_wrote"]) for name, one in costs.items()} == {
        "warmup": (0, 0), "grpo": (0, 0),
    }  # fmt: skip


def test_answers_that_were_not_counted_have_no_cost(tmp_path):
    with cost.timed(tmp_path, "filter"):
        (tmp_path / "filter").mkdir()
    (tmp_path / "filter" / "answers.jsonl").write_text('{"text": "4", "tokens": 2}\n')
    costs = cost.of_training(tmp_path)
    assert costs["filter"]["teacher_read"] is None and costs["filter"]["teacher_wrote"] is None
    assert cost.sentence(costs) == "Training took 0 minutes."


def test_the_sentence_adds_up_the_stages():
    costs = {
        "warmup": {"seconds": 5000.0, "teacher_read": 1200, "teacher_wrote": 34},
        "grpo": {"seconds": 4000.0, "teacher_read": 1000, "teacher_wrote": 6},
    }
    assert cost.sentence(costs) == "Training took 2.5 hours, in which the teacher read 2,200 tokens and wrote 40."
    assert cost.sentence({"warmup": costs["warmup"] | {"seconds": 90.0}}).startswith(
        "Training took 2 minutes, in which"
    )
