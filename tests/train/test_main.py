"""The command, on tiny random models: all of it in miniature, and a run that is killed on the way."""

import json
import shutil
import signal
import subprocess
import sys

import pytest
import yaml

from relay_core import ConfigurationError
from relay_core.train.__main__ import main, parse

SMALL = [
    "--warmup.problems", "6", "--warmup.blocked_problems", "4",
    "--warmup.batch_size", "4",
    "--warmup.trainer.num_train_epochs", "1", "--relay.max_tokens", "24",
    "--filter.problems", "3", "--filter.samples", "2", "--filter.keep", "0",
    "--grpo.updates", "2", "--grpo.prompts", "2", "--grpo.group_size", "2", "--grpo.rollouts", "2",
    "--grpo.checkpoint_every", "1",
    "--measure.problems", "4",
]  # fmt: skip


def flags(folder, out):
    return ["--student", str(folder), "--teacher", str(folder), "--out", str(out), *SMALL]


def test_flags_replace_the_recipes_values():
    args, overrides = parse(["grpo", "--seed", "4", "--grpo.trainer.learning_rate", "1e-4", "--grpo.calls=false"])
    assert args.stage == "grpo"
    assert overrides == {"seed": 4, "grpo.trainer.learning_rate": 1e-4, "grpo.calls": False}
    _, short = parse(["all", "--no-filter", "--no-exploration", "--reward", "simple", "--call-length", "rest"])
    assert short == {
        "filter.enabled": False, "grpo.exploration": False, "grpo.reward": "simple", "relay.trigger": "commands:rest",
    }  # fmt: skip
    assert parse(["all", "--call-length", "learned", "--warmup", "guided"])[1] == {
        "relay.trigger": "commands", "warmup.source": "guided",
    }  # fmt: skip
    with pytest.raises(ConfigurationError, match=r"--SECTION\.NAME VALUE"):
        parse(["all", "--grpo.rollouts"])


def test_help_names_the_recipes_and_the_task(capsys):
    with pytest.raises(SystemExit):
        parse(["--help"])
    said = capsys.readouterr().out
    assert "--task TASK" in said and "qwen3-0.6b" in said
    assert parse(["all", "--task", "{path: a.jsonl}"])[1] == {"task": {"path": "a.jsonl"}}


def test_errors_are_printed_in_one_line(capsys, tmp_path):
    assert main(["all", "--recipe", "bundel", "--out", str(tmp_path)]) == 2
    assert main(["all", "--grpo.rolouts", "3", "--out", str(tmp_path)]) == 2
    assert main(["grpo", "--student", "openai:m@http://x", "--out", str(tmp_path / "a"), *SMALL]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert "bundled" in errors[0] and "grpo.rollouts" in errors[1] and errors[-1].startswith("error: ")
    assert "Traceback" not in "".join(errors)


def test_the_bundled_recipe_says_that_it_is_made_for_a_smaller_student(tmp_path, capsys):
    assert main(["grpo", "--student", "some/model", "--out", str(tmp_path), "--grpo.rolouts", "3"]) == 2
    assert "0.17 M" not in capsys.readouterr().err  # the recipe was not even read
    assert main(["grpo", "--student", "openai:m@http://x", "--out", str(tmp_path), *SMALL]) == 2
    assert "made for a student of 0.17 M parameters; for openai:m@http://x, write --recipe" in capsys.readouterr().err


def test_a_folder_of_another_recipe_is_refused(tmp_path, capsys):
    from relay_core.train.recipe import load
    from relay_core.train.stages import Run

    Run(load("bundled"), tmp_path)
    Run(load("bundled"), tmp_path)
    (tmp_path / "student-warm").mkdir()
    (tmp_path / "student-warm" / "model.safetensors").touch()
    with pytest.raises(ConfigurationError, match=r"another recipe \(seed: 0 -> 1\), of which warmup has written"):
        Run(load("bundled", {"seed": 1}), tmp_path)
    Run(load("bundled", {"filter.keep": 0.1}), tmp_path)
    assert f"{tmp_path}: the run goes on with other values (filter.keep: 0.5 -> 0.1)" in capsys.readouterr().err
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["filter"]["keep"] == 0.1


def test_a_folder_with_nothing_but_a_recipe_is_taken_over(tmp_path, capsys):
    from relay_core.train.recipe import load
    from relay_core.train.stages import Run

    Run(load("bundled"), tmp_path)
    Run(load("bundled", {"seed": 1}), tmp_path)
    assert not capsys.readouterr().err
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["seed"] == 1


def test_all_stages_in_miniature(tmp_path, capsys, model_folder):
    assert main(["all", *flags(model_folder, tmp_path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["methods"]) == {"teacher", "student-base", "student-warm", "student-relay", "relay"}
    assert report["problems"] == 4 and report["methods"]["teacher"]["call_ratio"] == 1.0
    assert report == json.loads((tmp_path / "measured.json").read_text())
    assert (tmp_path / "training.png").read_bytes().startswith(b"\x89PNG")
    assert len((tmp_path / "filter" / "rates.jsonl").read_text().splitlines()) == 3
    assert len((tmp_path / "filter" / "answers.jsonl").read_text().splitlines()) == 6
    rollouts = [json.loads(line) for line in (tmp_path / "grpo" / "rollouts.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rollouts] == [0, 2]
    assert list((tmp_path / "grpo" / "tensorboard").glob("events.*"))
    for name in ("student-warm", "student-relay"):
        assert {f.name for f in (tmp_path / name).iterdir()} >= {
            "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
        }  # fmt: skip
    from relay_core import Relay

    with Relay(str(tmp_path / "student-relay"), str(model_folder)) as relay:
        assert relay.generate("How much is 2 + 3?", max_tokens=8).usage.completion_tokens <= 8
    _check_what_people_look_at(tmp_path, rollouts, capsys)
    _check_what_it_cost(tmp_path, report["training"])


def _check_what_it_cost(out, training):
    """The teacher's tokens are those of its answers in the filter and of its calls in the rollouts."""
    from pyarrow import parquet

    assert list(training) == ["warmup", "filter", "grpo"] and all(one["seconds"] > 0 for one in training.values())
    answers = [json.loads(line) for line in (out / "filter" / "answers.jsonl").read_text().splitlines()]
    assert training["warmup"]["teacher_wrote"] == 0, "random warm-up needs no teacher"
    assert training["filter"]["teacher_wrote"] == sum(answer["tokens"] for answer in answers) > 0
    assert training["filter"]["teacher_read"] > 6 * 5, "six prompts"
    calls = [n for f in (out / "grpo").rglob("*.parquet") for n in parquet.read_table(f)["teacher_tokens"].to_pylist()]
    assert training["grpo"]["teacher_wrote"] == sum(calls)
    assert "Training took " in (out / "student-relay" / "README.md").read_text()


def _check_what_people_look_at(out, figures, capsys):
    """TensorBoard, the answers in Parquet and the model card say what ``rollouts.jsonl`` and ``measured.json`` do."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from typer.testing import CliRunner

    from relay_core.cli import app

    events = EventAccumulator(str(out / "grpo" / "tensorboard")).Reload()
    for name in ("accuracy", "student_tokens/mean", "groups/teacher-unsolvable", "tokens_per_s", "sampler_gap/max"):
        logged = [event.value for event in events.Scalars(f"train/relay/{name}")]
        assert logged == pytest.approx([row[name] for row in figures], rel=1e-5), name
    shown = json.loads(CliRunner().invoke(app, ["rollouts", str(out), "--json"]).stdout)
    assert (shown["rollouts"], shown["answers"], shown["skipped"]) == (2, 8, [])
    for i, row in enumerate(figures):
        answers = [answer for answer in shown["rows"] if answer["step"] == row["step"]]
        assert [answer["k"] for answer in answers] == [0, 1, 0, 1]
        assert sum(answer["tokens"] for answer in answers) / 4 == row["tokens"], i
        assert all("".join(s["text"] for s in answer["segments"]) for answer in answers)
    card = out / "student-relay" / "README.md"
    measured = json.loads((out / "measured.json").read_text())["methods"]["relay"]["accuracy"]
    assert f"| relay | {measured:.3f} |" in card.read_text() and (card.parent / "training.png").exists()
    card.unlink()  # as if the run had been killed before it was written
    assert main(["grpo", *flags(*_pair_of(out))]) == 0 and "## Figures" in card.read_text()
    assert "filter and grpo: skipped, for student-relay is there" in capsys.readouterr().err
    modes = {file.stat().st_mode for file in (out / "student-relay").iterdir()}
    assert len(modes) == 1, "the weights are as readable as the other files"


def _pair_of(out):
    import yaml

    return yaml.safe_load((out / "recipe.yaml").read_text())["student"], out


def test_a_place_for_metrics_that_is_not_there_ends_the_run_at_once(tmp_path, capsys, model_folder, monkeypatch):
    monkeypatch.setattr("transformers.integrations.integration_utils.is_wandb_available", lambda: False)
    assert main(["all", *flags(model_folder, tmp_path), "--grpo.trainer.report_to", "wandb"]) == 2
    assert "pip install wandb" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_plain_grpo_starts_from_the_recipes_student(tmp_path, capsys, model_folder):
    assert main(["all", *flags(model_folder, tmp_path), "--grpo.calls", "false", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["methods"]) == {"teacher", "student-base", "student-grpo"}
    assert not (tmp_path / "warmup").exists()


def test_a_task_from_a_file(tmp_path, capsys, model_folder):
    file = tmp_path / "sums.jsonl"
    file.write_text("".join(json.dumps({"question": f"{i} + 1?", "answer": str(i + 1)}) + "\n" for i in range(20)))
    own = ["--task", str(file), "--measure.problems", "2"]
    assert main(["filter", *flags(model_folder, tmp_path / "run"), *own, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 3
    rows = [json.loads(line) for line in (tmp_path / "run" / "filter" / "rates.jsonl").read_text().splitlines()]
    assert {row["band"] for row in rows} == {""} and len({row["key"] for row in rows}) == 3
    assert main(["measure", *flags(model_folder, tmp_path / "run"), *own]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == "all call ratio calls/answer tokens/s".split()
    mix = ["--filter.mix", "{easy: 1.0}"]
    assert main(["filter", *flags(model_folder, tmp_path / "mix"), "--task", str(file), *mix]) == 2
    assert "has no group 'easy'" in capsys.readouterr().err


def test_a_killed_run_resumes_from_its_last_checkpoint(tmp_path, capfd, model_folder):
    out = tmp_path / "run"
    more = ["--grpo.rollouts", "4"]
    command = [sys.executable, "-m", "relay_core.train", "all", *flags(model_folder, out), *more]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("grpo 2/4"):
                process.send_signal(signal.SIGKILL)
                break
    assert process.wait() == -signal.SIGKILL
    before = [json.loads(line) for line in (out / "grpo" / "rollouts.jsonl").read_text().splitlines()]
    warm = (out / "student-warm" / "model.safetensors").read_bytes()

    assert main(["grpo", *flags(model_folder, out), *more]) == 0
    said = capfd.readouterr().err
    assert "grpo 1/4" not in said and "grpo 4/4" in said
    assert "grpo: goes on from checkpoint-" in said
    after = [json.loads(line) for line in (out / "grpo" / "rollouts.jsonl").read_text().splitlines()]
    assert [row["step"] for row in after] == [0, 2, 4, 6]
    assert after[0] == before[0]
    assert (out / "student-warm" / "model.safetensors").read_bytes() == warm
    assert (out / "student-relay" / "model.safetensors").is_file()


def test_a_run_that_was_killed_before_it_saved_its_student_trains_no_further(tmp_path, capsys, model_folder):
    """The Trainer by itself would do one more step after a checkpoint of the last one, unless an epoch ends there."""
    more = ["--warmup.trainer.max_steps", "3", "--warmup.trainer.save_steps", "1", "--warmup.blocked_problems", "0"]
    more += ["--grpo.trainer.lr_scheduler_type", "constant", "--grpo.trainer.learning_rate", "1e-3"]
    for stage, student in (("warmup", "student-warm"), ("grpo", "student-relay")):
        command = [stage, *flags(model_folder, tmp_path), *more]
        assert main(command) == 0
        saved = (tmp_path / student / "model.safetensors").read_bytes()
        rollouts = [path.name for path in sorted((tmp_path / "grpo").rglob("*.parquet"))]
        checkpoints = {path.name for path in (tmp_path / stage).glob("checkpoint-*")}
        shutil.rmtree(tmp_path / student)
        assert main(command) == 0
        assert (tmp_path / student / "model.safetensors").read_bytes() == saved
        assert [path.name for path in sorted((tmp_path / "grpo").rglob("*.parquet"))] == rollouts
        assert {path.name for path in (tmp_path / stage).glob("checkpoint-*")} == checkpoints
        if stage == "warmup":
            assert main(["filter", *flags(model_folder, tmp_path), *more]) == 0


@pytest.mark.parametrize("merge", [True, False])
def test_an_adapter_in_miniature_and_after_an_interruption(tmp_path, capsys, model_folder, monkeypatch, merge):
    """Warm-up and GRPO train an adapter; a run that ends in the middle of GRPO goes on from the adapter of its last
    checkpoint, and leaves what an undisturbed run leaves."""
    import torch
    from safetensors.torch import load_file

    from relay_core.bundled.task import BundledTask
    from relay_core.engines.model_source import ModelSource
    from relay_core.train.records import RolloutFile

    lora = ["--lora.r", "4", "--lora.merge", str(merge).lower(), "--grpo.trainer.learning_rate", "1e-2"]
    lora += ["--grpo.reward", "simple", "--grpo.group_size", "4", "--warmup.blocked_problems", "0"]
    lora += ["--measure.problems", "2"]
    monkeypatch.setattr(BundledTask, "grade", lambda self, text, problem: len(text) % 2 == 0)  # some answers are right
    assert main(["all", *flags(model_folder, tmp_path / "whole"), *lora, "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["methods"]) >= {"student-warm", "student-relay", "relay"}

    write, written = RolloutFile.write, []

    def fails_the_second_time(self, *arguments):
        written.append(1)
        if len(written) == 2:
            raise InterruptedError
        return write(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(RolloutFile, "write", fails_the_second_time)
        with pytest.raises(InterruptedError):
            main(["all", *flags(model_folder, tmp_path / "cut"), *lora])
    assert [path.name for path in (tmp_path / "cut" / "grpo").glob("checkpoint-*")] == ["checkpoint-2"]
    assert main(["all", *flags(model_folder, tmp_path / "cut"), *lora]) == 0

    file = "model.safetensors" if merge else "adapter_model.safetensors"
    names = ("student-warm", "student-relay")
    tensors = {(run, name): load_file(tmp_path / run / name / file) for run in ("whole", "cut") for name in names}
    for name in names:
        one, other = tensors["whole", name], tensors["cut", name]
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    warm, trained = (tensors["whole", name] for name in names)
    assert any(not torch.equal(warm[key], trained[key]) for key in warm)
    ids = torch.arange(1, 9)[None]
    with torch.no_grad():
        logits = [ModelSource.of(str(tmp_path / "whole" / name)).load()(ids).logits for name in names]
        base = ModelSource.of(str(model_folder)).load()(ids).logits
    assert not torch.equal(logits[0], base) and not torch.equal(logits[0], logits[1])
    source = ModelSource.of(str(tmp_path / "whole" / "student-relay"))
    assert source.weights == str(model_folder if not merge else tmp_path / "whole" / "student-relay")
