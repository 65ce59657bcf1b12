"""Distillation: the rows of the teacher's right answers, and the stage before warm-up."""

import json
import re

import pytest
import yaml

from relay_core import ConfigurationError, Relay, RelaySettings, ScriptedEngine, bundled
from relay_core.evaluate.task import task_from_spec
from relay_core.tokenizer import Tokenizer
from relay_core.train import distill
from relay_core.train.__main__ import main
from relay_core.train.jobs import jobs_for
from relay_core.train.problems import training_problems
from relay_core.train.recipe import build
from relay_core.train.sections import Distill
from relay_core.train.supervised import IGNORED
from testing.tasks import FixedTask, problem

RIGHT, WRONG, LONG = "The sum is 5.", "The sum is 6.", "The sum of 2 and 3 is, as everybody knows, 5."


def rows(teacher_text, qwen3, folder, student=None, **settings):
    teacher = Relay(ScriptedEngine(teacher_text, qwen3), None, RelaySettings(**{"max_tokens": 8, **settings}))
    task = FixedTask(grader=lambda text, answer: str(answer) in text)
    jobs = jobs_for([problem("2 + 3?", 5)], 1, run_seed=0, stage="distill")
    return distill.training_rows(teacher, student or qwen3, task, jobs, folder, Distill(problems=1))


def test_a_right_answer_is_a_row_behind_the_students_prompt(qwen3, tmp_path):
    (row,) = rows(RIGHT, qwen3, tmp_path)
    ids = [label for label in row["labels"] if label != IGNORED]
    assert qwen3.decode(ids[:-1]) == RIGHT and ids[-1] == qwen3.hf.eos_token_id
    assert row["input_ids"][-len(ids) :] == ids and len(row["labels"]) == len(row["input_ids"])
    prompt = qwen3.decode(row["input_ids"][: -len(ids)], control=True)
    assert "2 + 3?" in prompt and prompt.count("<|im_start|>assistant") == 1
    wrote = len(qwen3.encode(RIGHT)) + 1
    assert json.loads((tmp_path / "rows.json").read_text()) == {"answers": 1, "rows": 1, "teacher_wrote": wrote}


def test_the_students_own_vocabulary_spells_the_answer(qwen3, tmp_path):
    student = Tokenizer.load(bundled.path("student-base"))
    (row,) = rows(RIGHT, qwen3, tmp_path, student=student)
    ids = [label for label in row["labels"] if label != IGNORED]
    assert student.decode(ids[:-1]) == RIGHT and ids != qwen3.encode(RIGHT)


@pytest.mark.parametrize(("text", "cut_off"), [(WRONG, 0), (LONG, 1)])
def test_wrong_and_cut_answers_are_left_out(qwen3, tmp_path, text, cut_off):
    with pytest.raises(ConfigurationError, match=rf"none of 1 problems right \({cut_off} answers were cut off\)"):
        rows(text, qwen3, tmp_path)


def test_answers_that_are_there_are_not_sampled_again(qwen3, tmp_path):
    assert rows(RIGHT, qwen3, tmp_path) == rows(WRONG, qwen3, tmp_path)


def test_its_problems_are_others_than_those_of_warm_up():
    task = task_from_spec("word-problems")
    recipe = build({"task": "word-problems", "distill": {"problems": 300}, "warmup": {"problems": 200}})
    ids = {stage: {p.id for p in training_problems(task, recipe, stage)} for stage in ("distill", "warmup")}
    assert len(ids["distill"]) == 300 and not ids["distill"] & ids["warmup"]


def test_a_task_whose_problems_all_go_to_warm_up_is_refused(tmp_path):
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps({"question": f"{i}?", "answer": str(i)}) + "\n" for i in range(20)))
    recipe = build({"task": str(file), "distill": {"problems": 4}, "warmup": {"problems": 100}})
    with pytest.raises(ConfigurationError, match=r"lower warmup\.problems, or write --distill\.problems 0"):
        training_problems(task_from_spec(str(file)), recipe, "distill")


SMALL = [
    "--distill.problems", "6", "--distill.batch_size", "2", "--distill.trainer.num_train_epochs", "1",
    "--warmup.problems", "6", "--warmup.blocked_problems", "0", "--warmup.batch_size", "4",
    "--warmup.trainer.num_train_epochs", "1", "--relay.max_tokens", "200",
    "--filter.problems", "2", "--filter.samples", "1", "--filter.keep", "0",
    "--grpo.updates", "2", "--grpo.prompts", "2", "--grpo.group_size", "2", "--grpo.rollouts", "1",
    "--measure.problems", "2",
]  # fmt: skip


@pytest.mark.parametrize("lora", [[], ["--lora.r", "4", "--lora.merge", "false"]], ids=["whole", "adapter"])
def test_warm_up_starts_from_the_distilled_student(tmp_path, capsys, model_folder, lora, monkeypatch):
    import torch

    from relay_core.train import models

    sources = []
    trainable = models.trainable
    monkeypatch.setattr(
        models, "trainable", lambda folder, *a, **k: sources.append(folder) or trainable(folder, *a, **k)
    )
    flags = ["--student", str(model_folder), "--teacher", "bundled:teacher", "--out", str(tmp_path), *SMALL, *lora]
    assert main(["warmup", *flags]) == 2
    assert "student-distilled is not there: run the stage distill first" in capsys.readouterr().err
    assert main(["all", *flags, "--json"]) == 0
    names = ["student-base", "student-distilled", "student-warm", "student-relay"]
    assert [name for name in json.loads(capsys.readouterr().out)["methods"] if name in names] == names
    assert sources == [str(model_folder), *(str(tmp_path / name) for name in names[1:3])]
    made = json.loads((tmp_path / "distill" / "rows.json").read_text())
    assert made["answers"] == 6 and 0 < made["rows"] <= 6 and made["teacher_wrote"] > 100
    training = json.loads((tmp_path / "measured.json").read_text())["training"]
    assert training["distill"]["teacher_wrote"] == made["teacher_wrote"] and training["distill"]["teacher_read"] > 60
    card = (tmp_path / "student-relay" / "README.md").read_text()
    assert re.search(r"was first trained on right answers of bundled:teacher, to 6 problems\. Supervised", card)
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["distill"]["problems"] == 6
    _starts_in_actors(tmp_path)
    assert torch.is_grad_enabled() and main(["distill", *flags]) == 0
    assert "distill: skipped, for student-distilled is there" in capsys.readouterr().err
    assert main(["all", *flags, "--distill.problems", "5"]) == 2
    assert "another recipe (distill.problems: 6 -> 5)" in capsys.readouterr().err


def _starts_in_actors(out):
    """The student that warm-up starts from, as each process of a cluster loads it."""
    from relay_core import portal
    from relay_core.train import models
    from relay_core.train.stages import Run

    run = Run(build(yaml.safe_load((out / "recipe.yaml").read_text())), out)
    engine = models.engine_for_actors(run._spec_of(run.start), run.recipe.lora)
    portal.run(engine.start)
    assert "student-distilled" in engine.spec
    portal.run(engine.aclose)


def test_a_recipe_without_it_says_what_to_write(tmp_path, capsys):
    assert main(["distill", "--out", str(tmp_path)]) == 2
    assert "the recipe has no distillation: write distill.problems" in capsys.readouterr().err
