"""Build the bundled pair from a seed: `python -m relay_core.bundled.build`.

    tokenizer               trained on the task's own text                 seconds
    teacher, student-base   side by side, one core each                    at most 30 minutes
    train                   student-warm, student-relay, student-grpo,
                            by `python -m relay_core.train`                at most 60 minutes
    measure                 pass rates on held-out problems                2 minutes

A run that was killed goes on where it was when the same command is given again: `--work` holds the
checkpoints. Models come to lie in `--out` only when they are done.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relay_core.bundled import WEIGHTS, arithmetic, measure, pretrain, task, tokenizer

PAIR = ("teacher", "student-base")
STAGES = ("tokenizer", *PAIR, "train", "measure")


def load_tokenizer(work: Path, seed: int) -> Any:
    """The tokenizer of this build, trained the first time."""
    from transformers import AutoTokenizer

    folder = work / "tokenizer"
    if not folder.is_dir():
        temporary = work / f"tokenizer.{os.getpid()}"
        tokenizer.train(seed).save_pretrained(temporary)
        os.replace(temporary, folder)
    return AutoTokenizer.from_pretrained(folder)


def train_one(name: str, *, seed: int, work: Path, out: Path, threads: int) -> None:
    """Train one model and put it into `out`; a JSON line on stdout for each report."""
    import torch

    torch.set_num_threads(threads)
    recipe = pretrain.RECIPES[name]
    words = load_tokenizer(work, seed)

    parent = os.getppid()

    def report(step: int, loss: float, seconds: float) -> None:
        if os.getppid() != parent:
            sys.exit("the build is gone; the checkpoint stays")
        line = {"step": step, "of": recipe.steps, "loss": round(loss, 4), "s": round(seconds, 1)}
        print(json.dumps(line), flush=True)

    model = pretrain.train(recipe, words, seed=seed, folder=work / name, report=report)
    temporary = out / f".{name}.{os.getpid()}"
    pretrain.save_model(model, words, temporary)
    shutil.rmtree(out / name, ignore_errors=True)
    os.replace(temporary, out / name)


def train_pair(names: tuple[str, ...], *, seed: int, work: Path, out: Path, threads: int) -> None:
    """Train models side by side, each in a process of its own, with a bar for each.

    Raises:
        RuntimeError: one of the processes failed; its message has been printed.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console()
    bars = Progress(
        TextColumn("{task.description:14}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}  loss {task.fields[loss]:.3f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )

    def follow(name: str, process: subprocess.Popen[str], bar: Any) -> None:
        assert process.stdout is not None
        for text in process.stdout:
            line = json.loads(text)
            bars.update(bar, completed=line["step"], loss=line["loss"])
            if not console.is_terminal:
                print(
                    f"{name} {line['step']}/{line['of']} loss {line['loss']} {line['s']}s",
                    flush=True,
                )

    with bars:
        children: list[tuple[subprocess.Popen[str], threading.Thread]] = []
        for name in names:
            command = [sys.executable, "-m", "relay_core.bundled.build", "--child", "--only", name]
            command += ["--seed", str(seed), "--work", str(work), "--out", str(out)]
            command += ["--threads", str(threads)]
            child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            bar = bars.add_task(name, total=pretrain.RECIPES[name].steps, loss=float("nan"))
            thread = threading.Thread(target=follow, args=(name, child, bar), daemon=True)
            thread.start()
            children.append((child, thread))
        await_all([child for child, _ in children])
        for _, thread in children:
            thread.join()


def await_all(children: Sequence[subprocess.Popen[Any]]) -> None:
    """Wait for all of them; none outlives this, however it ends.

    Raises:
        RuntimeError: one of them failed.
    """
    try:
        failed = [child.args for child in children if child.wait()]
    finally:
        for child in children:
            child.terminate()
    if failed:
        raise RuntimeError(f"a training process failed: {failed}")


def train_students(*, seed: int, work: Path, out: Path) -> None:
    """The students that learn from the pair, side by side, by the training's own command line.

    Raises:
        RuntimeError: one of the trainings failed; its message has been printed, or is in train-grpo.log.
    """
    command = [sys.executable, "-m", "relay_core.train", "all", "--recipe", "bundled", "--seed", str(seed)]
    command += ["--student", str(out / "student-base"), "--teacher", f"transformers:{out / 'teacher'}"]
    relay, alone = work / "train", work / "train-grpo"
    with (work / "train-grpo.log").open("a") as log:
        first = subprocess.Popen([*command, "--out", str(relay)])
        second = subprocess.Popen([*command, "--grpo.calls", "false", "--out", str(alone)], stdout=log, stderr=log)
        await_all([first, second])
    for run, name in ((relay, "student-warm"), (relay, "student-relay"), (alone, "student-grpo")):
        shutil.copytree(run / name, out / name, dirs_exist_ok=True)


def measure_models(out: Path, *, n: int, split: arithmetic.Split, file: Path) -> dict[str, Any]:
    """Pass rates, sizes and lengths of every model in `out`, written to `file`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    report: dict[str, Any] = {"split": split, "problems_per_band": n, "models": {}}
    for folder in sorted(p.parent for p in out.glob("*/model.safetensors")):
        words = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
        drawn = [p for group in task.GROUPS for p in task.problems(n, split=split, group=group)]
        other = [
            p for group in task.GROUPS for p in task.problems(n // 4, split=split, group=group, family=task.HELD_OUT)
        ]
        report["models"][folder.name] = {
            "parameters": model.num_parameters(),
            "bytes": (folder / "model.safetensors").stat().st_size,
            "trained": measure.pass_rates(model, words, drawn),
            "held_out_family": measure.pass_rates(model, words, other),
        }
        print(folder.name, json.dumps(report["models"][folder.name]), flush=True)
    file.write_text(json.dumps(report, indent=1) + "\n")
    return report


def main(argv: list[str] | None = None) -> None:
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
    where = {"seed": args.seed, "work": args.work, "out": args.out, "threads": args.threads}
    if args.child:
        train_one(args.only, **where)
        return
    stages = (args.only,) if args.only else STAGES
    if "tokenizer" in stages:
        load_tokenizer(args.work, args.seed)
    if wanted := tuple(s for s in stages if s in PAIR):
        load_tokenizer(args.work, args.seed)
        train_pair(wanted, **where)
    if "train" in stages:
        train_students(seed=args.seed, work=args.work, out=args.out)
    if "measure" in stages:
        file = args.out / "measured.json"
        measure_models(args.out, n=args.problems, split=args.split, file=file)
        print(f"written: {file}")


if __name__ == "__main__":
    main()
