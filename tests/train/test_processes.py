"""A run on two processes does what a run on one does, and the same seed repeats a run."""

import json
import os
import subprocess
import sys

import pyarrow.parquet
import pytest

from relay_core.train.__main__ import main
from tests.train.test_main import SMALL

FLAGS = [
    *SMALL, "--grpo.prompts", "4", "--filter.problems", "6", "--grpo.rollouts", "3", "--grpo.tokens_per_forward", "64",
]  # fmt: skip


def train(folder, out, more, *, processes=1):
    command = ["all", *FLAGS, *more, "--student", str(folder), "--teacher", str(folder), "--out", str(out)]
    if processes == 1:
        assert main(command) == 0
        return out
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "relay_core.train", *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (out / "stderr.txt").write_text(done.stderr)
    return out


def rollouts(out):
    """What an undisturbed run repeats of its rollouts."""
    names = ("problem", "k", "seed", "text", "completion_ids", "env_mask", "correct", "reward", "scenario")
    return [
        {name: row[name] for name in names}
        for file in sorted((out / "grpo" / "rollouts").glob("*.parquet"))
        for row in pyarrow.parquet.read_table(file).to_pylist()
    ]


def losses(out):
    (state,) = (out / "grpo").glob("checkpoint-6/trainer_state.json")
    return [row["loss"] for row in json.loads(state.read_text())["log_history"] if "loss" in row]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_do_what_one_does(tmp_path, model_folder):
    # the models are random, and every third answer counts as right: groups have something to learn
    grader = ["--task.grader", "testing.graders:by_length", "--task", str(problems(tmp_path))]
    one = train(model_folder, tmp_path / "one", grader)
    again = train(model_folder, tmp_path / "again", grader)
    two = train(model_folder, tmp_path / "two", grader, processes=2)
    for name in ("warmup/samples.jsonl", "filter/answers.jsonl", "filter/rates.jsonl"):
        assert (one / name).read_text() == (two / name).read_text() == (again / name).read_text()
    assert rollouts(one) == rollouts(again) == rollouts(two)
    assert len({row["reward"] for row in rollouts(one)}) > 1
    for name in ("student-warm", "student-relay"):
        assert weights(one / name) == weights(again / name)
    assert losses(one) == pytest.approx(losses(two), abs=1e-4)
    assert (two / "student-relay" / "model.safetensors").is_file() and (two / "measured.json").is_file()
    assert (two / "student-relay" / "README.md").read_text().startswith("---\n")
    shown = (two / "stderr.txt").read_text()  # by the main process alone, of its own half of what is shared
    assert [shown.count(end) for end in ("samples 3/3 ", "filter 6/6 ", "grpo 3/3 ")] == [1, 1, 1], shown


UNEQUAL = """
import torch
from accelerate import Accelerator
from relay_core.train.grpo_trainer import gathering_unequal_rows

accelerator = Accelerator(cpu=True)
rank = accelerator.process_index
with gathering_unequal_rows(accelerator):
    rows = accelerator.gather(torch.full((2 + rank,), float(rank)))
    assert accelerator.gather(torch.tensor(1.0)).sum() == 2, "a scalar is gathered as before"
assert rows.nan_to_num(9).tolist() == [0, 0, 9, 1, 1, 1], rows
assert accelerator.gather(torch.ones(2)).tolist() == [1] * 4
"""


def test_a_pass_has_other_rows_in_each_process(tmp_path):
    (tmp_path / "unequal.py").write_text(UNEQUAL)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([*command, str(tmp_path / "unequal.py")], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def problems(folder):
    file = folder / "sums.jsonl"
    rows = [{"question": f"How much is {i} + {i + 1}?", "answer": str(i)} for i in range(20)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file
