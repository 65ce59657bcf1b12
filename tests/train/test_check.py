"""The report on a tiny pair: all is well, and what is not is one line that says what to write instead."""

import json

import pytest

from relay_core import ConfigurationError
from relay_core.train import check
from relay_core.train.__main__ import main
from relay_core.train.checks.findings import Finding, Level
from relay_core.train.recipe import build

TINY_GRPO = {"rollouts": 2, "prompts": 4, "group_size": 2, "updates": 2}


def recipe(folder, **sections):
    base = {
        "student": str(folder), "teacher": str(folder), "relay": {"max_tokens": 24},
        "warmup": {"problems": 6}, "filter": {"problems": 6}, "measure": {"problems": 4}, "grpo": TINY_GRPO,
    }  # fmt: skip
    return build({**base, **sections})


def test_a_recipe_that_works(model_folder, tmp_path):
    report = check.run(recipe(model_folder), tmp_path / "run")
    assert not report.errors, report.text()
    subjects = [finding.subject for finding in report.findings]
    for subject in (
        "packages", "policy", "batches", "TRL", "data", "grader", "template", "end tokens", "command", "memory", "disk",
        "teacher", "vocabulary", "prompts", "rollout",
    ):  # fmt: skip
        assert subject in subjects
    text = report.text()
    assert "4 prompts x 2 answers = 2 updates x 1 processes x 4 answers" in text
    assert "both models share a vocabulary" in text and "an estimate from" in text
    assert not (tmp_path / "run").exists()


def test_the_command_exits_with_2_after_an_error(model_folder, tmp_path, capsys):
    flags = ["--student", str(model_folder), "--teacher", str(model_folder), "--out", str(tmp_path / "run")]
    small = ["--warmup.problems", "6", "--filter.problems", "40", "--measure.problems", "4", "--relay.max_tokens", "24"]
    assert main(["check", *flags, *small, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["errors"] == 0 and {"level", "check", "text"} == set(report["findings"][0])
    assert main(["check", *flags, *small, "--relay.max_tokens", "5000"]) == 2
    out = capsys.readouterr().out
    assert "write relay.max_tokens:" in out and out.splitlines()[-1].startswith("2 errors")  # in both models' contexts
    assert main(["check", *flags, *small, "--processes", "3"]) == 2
    assert "choose a multiple of 12" in capsys.readouterr().out


def test_the_quick_part_raises_all_errors_at_once(model_folder):
    check.quick(recipe(model_folder))
    broken = recipe(
        model_folder, grpo={**TINY_GRPO, "reward": "bill", "trainer": {"learning_rat": 1}}, filter={"problems": 2}
    )
    with pytest.raises(ConfigurationError) as error:
        check.quick(broken)
    for part in ("relay.prices", "learning_rate", "raise filter.problems"):
        assert part in str(error.value)
    with pytest.raises(ConfigurationError, match="choose a multiple of 16"):
        check.quick(recipe(model_folder), world=8)


def test_a_report_counts_in_words():
    found = [Finding(Level.ERROR, "a", "x"), Finding(Level.WARNING, "b", "y"), Finding(Level.WARNING, "b", "z")]
    assert check.Report(tuple(found)).text().splitlines()[-1] == "1 error, 2 warnings"


def test_what_failed_once_is_said_once(model_folder, tmp_path):
    file = tmp_path / "problems.jsonl"
    file.write_text('{"frage": "1 + 1?", "answer": "2"}\n')
    report = check.run(recipe(model_folder, task=str(file)), tmp_path / "run")
    texts = [finding.text for finding in report.errors]
    assert len([text for text in texts if "there is no column 'question'" in text]) == 1
    assert "no answer was tried" not in report.text()  # no teacher was started, because there are no problems
