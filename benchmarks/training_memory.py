"""How well `python -m relay_core.train check` estimates memory: the peak of real runs on a CPU against the estimate.

    python -m benchmarks.training_memory [--json]

For each shape, a random Qwen3 is trained in a process of its own, by warm-up and by GRPO without a teacher, and the
process's peak of resident memory is read. The peak of the same run on a model of 20,000 parameters is subtracted:
imports, data, and what a run takes whatever its model.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay_core.train import memory
from relay_core.train.recipe import Recipe, build

MIB = 2**20
MAX_TOKENS = 128
PROMPT_TOKENS = 96
"""The length of the bundled task's longest prompts."""


@dataclass(frozen=True)
class Shape:
    """A model, and the batches on which it is trained."""

    name: str
    hidden: int
    layers: int
    vocabulary: int
    rows: int
    tied: bool = True
    checkpointing: bool = False

    def config(self) -> Any:
        """The config of a Qwen3 of this shape; its heads are as wide as Qwen3-0.6B's are in proportion."""
        from transformers import Qwen3Config

        return Qwen3Config(
            vocab_size=self.vocabulary, hidden_size=self.hidden, intermediate_size=3 * self.hidden,
            num_hidden_layers=self.layers, num_attention_heads=8, num_key_value_heads=4, head_dim=self.hidden // 4,
            max_position_embeddings=2048, tie_word_embeddings=self.tied, bos_token_id=None, eos_token_id=1,
            pad_token_id=0, dtype="float32",
        )  # fmt: skip

    def recipe(self, folder: Path) -> Recipe:
        """A run of two updates on the model in ``folder``."""
        common = {"gradient_checkpointing": self.checkpointing, "report_to": "none"}
        return build({
            "student": str(folder), "relay": {"max_tokens": MAX_TOKENS}, "threads": 1,
            "warmup": {"batch_size": self.rows, "trainer": {**common, "num_train_epochs": 1}},
            "filter": {"enabled": False, "problems": 8},
            "grpo": {
                "calls": False, "rollouts": 1, "prompts": 4, "group_size": 4, "updates": 2,
                "trainer": {**common, "beta": 0.01},
                "tokens_per_forward": self.rows * (MAX_TOKENS + PROMPT_TOKENS), "checkpoint_every": 9,
            },
        })  # fmt: skip


SHAPES = (
    Shape("10 M, many rows", 256, 8, 8192, rows=16),
    Shape("30 M, a wide vocabulary", 192, 6, 131072, rows=2),
    Shape("30 M, untied", 256, 14, 32768, rows=4, tied=False),
    Shape("50 M, checkpointed", 512, 12, 16384, rows=8, checkpointing=True),
)
TINY = Shape("20 thousand", 16, 1, 1024, rows=8)


def measure(shape: Shape, stage: str) -> int:
    """The peak of resident memory of one stage, in bytes, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.training_memory", "--child", stage, shape.name]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        out = process.communicate()[0]
    if process.returncode:
        raise RuntimeError(f"{stage} on {shape.name} failed")
    return int(out.splitlines()[-1])


def child(stage: str, shape: Shape) -> int:
    """Run a stage; returns the peak of this process's resident memory in bytes."""
    import torch
    from transformers import AutoModelForCausalLM

    from relay_core import bundled
    from relay_core.engines.model_folder import load_tokenizer, save_model

    torch.manual_seed(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "model", Path(folder) / "run"
        if os.fork() == 0:  # making the model leaves no trace in the process that is measured
            tokenizer = load_tokenizer(str(bundled.path("student-base"))).hf
            save_model(AutoModelForCausalLM.from_config(shape.config()), tokenizer, source)
            os._exit(0)
        os.wait()
        recipe = shape.recipe(source)
        if stage == "grpo":
            from relay_core.train.stages import Run

            Run(recipe, out).grpo()
        else:
            _fine_tune(recipe, source, out)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def _fine_tune(recipe: Recipe, source: Path, out: Path) -> None:
    from relay_core.train import models, supervised

    model, tokenizer = models.load(str(source))
    ids = list(range(5, 5 + MAX_TOKENS))
    rows = [{"input_ids": ids, "labels": ids}] * (2 * recipe.warmup.batch_size)
    supervised.fine_tune(model, tokenizer, rows, recipe.warmup, out, seed=0, stage="warmup")


def estimated(shape: Shape, stage: str) -> int:
    """The estimate of a stage in bytes."""
    recipe = shape.recipe(Path("model"))
    student = memory.Student(shape.config(), recipe, "cpu", 1, 0 if stage == "warmup" else PROMPT_TOKENS)
    if stage == "warmup":
        return sum(student.with_slack({**student.state, **student.supervised_pass(recipe.warmup)}).values())
    cache = student.engine(16 * 2**30)["cache"]
    return cache + sum(student.with_slack({**student.state, **student.reference(), **student.grpo_pass()}).values())


def main() -> None:
    """Print one line for each shape and stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--shapes", type=int, default=len(SHAPES), help="the first so many shapes")
    parser.add_argument("--stages", nargs="+", default=["warmup", "grpo"], choices=["warmup", "grpo"])
    args = parser.parse_args()
    if args.child:
        stage, name = args.child
        print(child(stage, next(shape for shape in (*SHAPES, TINY) if shape.name == name)))
        return
    runs: list[dict[str, Any]] = []
    for stage in args.stages:
        base = measure(TINY, stage)
        for shape in SHAPES[: args.shapes]:
            used, guess = measure(shape, stage) - base, estimated(shape, stage)
            run = {"stage": stage, "shape": shape.name, "measured_mib": used / MIB, "estimated_mib": guess / MIB}
            runs.append({**run, "ratio": guess / used})
            if not args.json:
                print("{stage:7} {shape:26} measured {measured_mib:6.0f} MiB, estimated {estimated_mib:6.0f} MiB: "
                      "{ratio:.2f}".format(**runs[-1]), flush=True)  # fmt: skip
    if args.json:
        print(json.dumps(runs))


if __name__ == "__main__":
    main()
