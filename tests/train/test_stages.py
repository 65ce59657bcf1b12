"""What the stages of a run say of its students; the stages themselves are run by test_main.py and others."""

import json
import shutil

from relay_core.train.recipe import build
from relay_core.train.stages import Run

FIGURES = {"accuracy": 0.4, "bands": {"easy": 1.0}, "call_ratio": 0.0, "calls": 0.0}


def measured(out, *names):
    values = {"problems": 300, "methods": dict.fromkeys(("teacher", "relay", *names), FIGURES)}
    (out / "measured.json").write_text(json.dumps(values))


def figures_of(run, folder):
    run._write_card(folder)
    return (
        (folder / "README.md")
        .read_text()
        .partition("300 held-out problems, greedy decoding. ")[2]
        .partition(" with")[0]
    )


def test_a_card_has_the_figures_that_were_measured_of_this_student(tmp_path, model_folder):
    run = Run(build({"student": str(model_folder)}), tmp_path)
    shutil.copytree(model_folder, run.warm)
    assert run.last == run.warm
    measured(tmp_path, "student-warm")
    assert figures_of(run, run.warm) == "`relay` is `student-warm`"
    shutil.copytree(model_folder, run.trained)
    assert run.last == run.trained
    assert figures_of(run, run.trained) == "", "they are those of the student before GRPO"
    measured(tmp_path, "student-warm", "student-relay")
    assert figures_of(run, run.trained) == "`relay` is `student-relay`"
    assert figures_of(run, run.warm) == "", "this relay was measured with the other student"
