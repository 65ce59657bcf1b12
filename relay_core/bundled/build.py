"""Builds the bundled pair from a seed: `python -m relay_core.bundled.build`.

    tokenizer               trained on the task's own text                 seconds
    teacher, student-base   side by side, one core each                    about 35 minutes
    train                   student-warm, student-relay, student-grpo,
                            by `python -m relay_core.train`                at most 60 minutes
    measure                 pass rates on held-out problems                3 minutes

If a build is killed, run the same command again: it resumes from the checkpoints in ``--work``. A model's folder
appears in ``--out`` when the model is complete.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relay_core.bundled import WEIGHTS, pretrain, task, tokenizer
from relay_core.bundled.arithmetic import Split
from relay_core.bundled.build_progress import BuildProgress
from relay_core.bundled.pretrain_recipe import RECIPES
from relay_core.bundled.scores import scores
from relay_core.engines.model_folder import replacing, save_model

PAIR = ("teacher", "student-base")
STAGES = ("tokenizer", *PAIR, "train", "measure")


def load_tokenizer(work: Path, seed: int) -> Any:
    """The tokenizer of this build, trained on the first call."""
    from transformers import AutoTokenizer

    folder = work / "tokenizer"
    if not folder.is_dir():
        with replacing(folder) as temporary:
            tokenizer.train(seed).save_pretrained(temporary)
    return AutoTokenizer.from_pretrained(folder)


def train_one(name: str, *, seed: int, work: Path, out: Path, threads: int) -> None:
    """Train one model of the pair and save it in ``out``; prints each report as a JSON line on stdout."""
    import torch

    torch.set_num_threads(threads)
    recipe = RECIPES[name]
    build_tokenizer = load_tokenizer(work, seed)
    parent = os.getppid()

    def report(step: int, loss: float, seconds: float) -> None:
        if os.getppid() != parent:
            sys.exit("the build has ended, so this training stops, too; its checkpoint is kept")
        line = {"step": step, "of": recipe.steps, "loss": round(loss, 4), "s": round(seconds, 1)}
        print(json.dumps(line), flush=True)

    model = pretrain.train(recipe, build_tokenizer, seed=seed, folder=work / name, report=report)
    save_model(model, build_tokenizer, out / name)


def train_pair(names: Sequence[str], *, seed: int, work: Path, out: Path, threads: int) -> None:
    """Train models of the pair in parallel, each in its own process and with its own progress bar.

    Raises:
        RuntimeError: a process failed; it has printed its error.
    """
    with BuildProgress() as progress:
        children: list[subprocess.Popen[str]] = []
        for name in names:
            command = [sys.executable, "-m", "relay_core.bundled.build", "--child", "--only", name]
            command += ["--seed", str(seed), "--work", str(work), "--out", str(out)]
            command += ["--threads", str(threads)]
            child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            children.append(child)
            assert child.stdout is not None
            progress.follow(name, child.stdout, steps=RECIPES[name].steps)
        await_all(children)


def await_all(children: Sequence[subprocess.Popen[Any]]) -> None:
    """Wait for every child process; terminate all of them if the wait ends early.

    Raises:
        RuntimeError: a child failed.
    """
    try:
        failed = [child.args for child in children if child.wait()]
    finally:
        for child in children:
            child.terminate()
    if failed:
        raise RuntimeError(f"a training process failed: {failed}")


#: the flags of the relay student, which starts from student-warm: guided warm-up calls where it pays, with the length
#: that it needs; the simple reward on all problems, hard ones too, keeps the student from calling in vain
GUIDED = (
    "--warmup", "guided", "--warmup.prune", "true", "--warmup.unaided", "1", "--warmup.temperature", "0.3",
    "--warmup.problems", "240", "--warmup.trainer.num_train_epochs", "4", "--no-filter", "--reward", "simple",
    "--grpo.broken_penalty", "0.5", "--grpo.rollouts", "12", "--grpo.trainer.learning_rate", "4e-4",
)  # fmt: skip


def train_students(*, seed: int, work: Path, out: Path) -> None:
    """Train the students with ``python -m relay_core.train``: student-warm and student-grpo in parallel from
    student-base, then student-relay from student-warm.

    Raises:
        RuntimeError: a training failed; its error was printed, or written to train-grpo.log.
    """

    def command(stage: str, student: str, name: str, *flags: str) -> list[str]:
        models = ["--student", str(out / student), "--teacher", f"transformers:{out / 'teacher'}"]
        recipe = ["--recipe", "bundled", "--seed", str(seed), *flags]
        return [sys.executable, "-m", "relay_core.train", stage, *recipe, *models, "--out", str(work / name)]

    with (work / "train-grpo.log").open("a") as log:
        first = subprocess.Popen(command("warmup", "student-base", "train-warm"))
        alone = command("all", "student-base", "train-grpo", "--grpo.calls", "false")
        await_all([first, subprocess.Popen(alone, stdout=log, stderr=log)])
    _copy(work / "train-warm" / "student-warm", out)
    _copy(work / "train-grpo" / "student-grpo", out)
    await_all([subprocess.Popen(command("all", "student-warm", "train", *GUIDED))])
    _copy(work / "train" / "student-relay", out)


def _copy(model: Path, out: Path) -> None:
    with replacing(out / model.name) as temporary:
        shutil.copytree(model, temporary, dirs_exist_ok=True)


def measure_models(out: Path, *, n: int, split: Split, file: Path) -> dict[str, Any]:
    """Measure every model in ``out`` (pass rates, sizes, lengths of answers) and write the report to ``file``."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    report: dict[str, Any] = {"split": split, "problems_per_band": n, "models": {}}
    groups = task.GROUPS
    trained = [p for g in groups for p in task.problems(n, split=split, group=g)]
    held_out = [p for g in groups for p in task.problems(n // 4, split=split, group=g, family=task.HELD_OUT)]
    for folder in sorted(path.parent for path in out.glob("*/model.safetensors")):
        model_tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
        report["models"][folder.name] = {
            "parameters": model.num_parameters(),
            "bytes": (folder / "model.safetensors").stat().st_size,
            "trained": scores(model, model_tokenizer, trained),
            "held_out_family": scores(model, model_tokenizer, held_out),
        }
        print(folder.name, json.dumps(report["models"][folder.name]), flush=True)
    file.write_text(json.dumps(report, indent=1) + "\n")
    return report


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m relay_core.bundled.build", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where the models go")
    parser.add_argument("--work", type=Path, default=Path("build/bundled"), help="checkpoints")
    parser.add_argument("--only", choices=STAGES, help="one stage instead of all")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for each model")
    parser.add_argument("--problems", type=int, default=400, help="measured problems in each group")
    parser.add_argument("--split", choices=task.SPLITS[1:], default="test", help="measured split")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    pair_options = {"seed": args.seed, "work": args.work, "out": args.out, "threads": args.threads}
    if args.child:
        train_one(args.only, **pair_options)
        return
    stages = (args.only,) if args.only else STAGES
    pair = [stage for stage in stages if stage in PAIR]
    if "tokenizer" in stages or pair:
        load_tokenizer(args.work, args.seed)
    if pair:
        train_pair(pair, **pair_options)
    if "train" in stages:
        train_students(seed=args.seed, work=args.work, out=args.out)
    if "measure" in stages:
        file = args.out / "measured.json"
        measure_models(args.out, n=args.problems, split=args.split, file=file)
        print(f"written: {file}")


if __name__ == "__main__":
    main()
