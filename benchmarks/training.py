"""What GRPO costs beside TRL's own: rollouts with the relay against TRL's generation, and the training step.

    python benchmarks/training.py                                      # the bundled pair
    python benchmarks/training.py --prompts 192 --update-rows 256 --rounds 1    # a rollout that takes a minute
    python benchmarks/training.py --student DIR/smollm2-135m --trigger chance:0.02,8 --prompts 8 --update-rows 8

Four ways take turns in every round, on the same prompts and weights:

    trl          TRL generates with the student alone (transformers' generate, as GRPOTrainer does without vLLM)
    relay        the relay answers, and the student calls the teacher
    delayed      the same, with --delay-s seconds before the first token of a share (--delayed) of the teacher's calls
    alone        the relay answers with calls refused

``rollouts`` gives each one's student tokens per second, relative to TRL's. ``step`` is the time of one update on the
relay's answers by this package's trainer, relative to TRL's on the same rows. Each is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.command_line import add_output_options, add_task_option, run_benchmark
from relay_core import Relay, RelaySettings, engine_from_spec
from relay_core.engines.base import Chunk, Engine, Prompt, Sampling
from relay_core.engines.wrapped import Wrapped
from relay_core.evaluate.task import task_from_spec
from relay_core.train import models
from relay_core.train.policies.live import LivePolicy
from relay_core.train.rollout import Rollout


class Delayed(Wrapped):
    """An engine that waits before some of its answers."""

    def __init__(self, inner: Engine, share: float, seconds: float) -> None:
        super().__init__(inner)
        self._share, self._seconds, self._rng = share, seconds, random.Random(0)

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        if self._rng.random() < self._share:
            await asyncio.sleep(self._seconds)
        async for chunk in self.inner.stream(prompt, sampling):
            yield chunk


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """All ways, in turns."""
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    models.quiet()
    torch.manual_seed(0)
    model, tokenizer = models.load(models.folder_of(options.student))
    problems = task_from_spec(options.task).problems("train", options.prompts, seed=0)
    prompts = [[dict(m) for m in problem.messages] for problem in problems for _ in range(options.group)]
    teacher = engine_from_spec(options.teacher, role="teacher")
    settings = RelaySettings(max_tokens=options.max_tokens, trigger=options.trigger, teacher_temperature=0.0)
    policy = LivePolicy(tokenizer)

    def rollout(engine: Engine | None) -> Rollout:
        return Rollout(policy, lambda: Relay(policy.engine, engine, settings), run_seed=0, temperature=1.0)

    rollouts = {
        "relay": rollout(teacher),
        "delayed": rollout(Delayed(teacher, options.delayed, options.delay_s)),
        "alone": rollout(None),
    }
    with tempfile.TemporaryDirectory() as folder:
        ours, trls = trainers(model, tokenizer, len(prompts), options, Path(folder))
        policy.attach(ours)
        rates: dict[str, list[float]] = {}
        steps: list[float] = []
        for number in range(options.rounds + 1):  # the first one warms up
            speeds = {"trl": generate(trls, prompts)}
            for name, way in rollouts.items():
                began = time.perf_counter()
                columns = way(prompts, ours)
                seconds = time.perf_counter() - began
                speeds[name] = sum(map(sum, columns["env_mask"])) / seconds
                say(f"round {number}: {name} {speeds[name]:,.0f} student tokens/s in {seconds:.0f} s")
            if number:
                for name, speed in speeds.items():
                    rates.setdefault(name, []).append(speed)
            say(f"round {number}: trl {speeds['trl']:,.0f} student tokens/s")
            step = updates(ours, trls, rollouts["relay"].rows[: options.update_rows])
            steps += [step] if number else []
        policy.release()
    ratios = {
        name: statistics.median(a / b for a, b in zip(values, rates["trl"], strict=True))
        for name, values in rates.items()
    }
    return {
        "student_tokens_per_s": {name: statistics.median(values) for name, values in rates.items()},
        "rollouts": ratios,
        "step": statistics.median(steps),
        "answers": len(prompts),
    }


def say(line: str) -> None:
    """Progress: a run takes minutes, and one that is ended early has said what it measured."""
    print(line, file=sys.stderr, flush=True)


def trainers(model: Any, tokenizer: Any, rows: int, options: argparse.Namespace, folder: Path) -> tuple[Any, Any]:
    """This package's trainer and TRL's, on the same model."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from relay_core.train.grpo_trainer import RelayGRPOTrainer
    from relay_core.train.trainer import arguments, common_values

    values = {
        **common_values(folder, seed=0),
        "num_generations": options.group,
        "per_device_train_batch_size": rows,
        "max_completion_length": options.max_tokens,
        "max_steps": 1,
        "beta": 0.0,
    }
    shared = {
        "model": model, "reward_funcs": [lambda **columns: [0.0] * len(columns["prompts"])],
        "train_dataset": Dataset.from_list([{"prompt": "a"}]), "processing_class": tokenizer,
    }  # fmt: skip
    args = [arguments(GRPOConfig, "grpo", values) for _ in range(2)]
    budget = {"tokens_per_forward": options.tokens_per_forward, "on_rollout": lambda *_: None}
    both = RelayGRPOTrainer(args=args[0], **shared, **budget), GRPOTrainer(args=args[1], **shared)
    for trainer in both:
        trainer.create_optimizer_and_scheduler(1)
        trainer.current_gradient_accumulation_steps = 1
    return both


def generate(trainer: Any, prompts: Sequence[Any]) -> float:
    """Student tokens per second of TRL's own generation."""
    trainer.model.train()
    began = time.perf_counter()
    ids = trainer._generate(list(prompts))[1]
    return sum(map(len, ids)) / (time.perf_counter() - began)


def updates(ours: Any, trls: Any, rows: Sequence[Mapping[str, Any]]) -> float:
    """The time of an update by this package's trainer, as a multiple of TRL's."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    def padded(name: str, side: str, value: int = 0) -> torch.Tensor:
        return pad_sequence(
            [torch.tensor(row[name]) for row in rows], batch_first=True, padding_value=value, padding_side=side
        )

    completion_mask = pad_sequence([torch.ones(len(row["completion_ids"]), dtype=torch.long) for row in rows], True)
    prompt_mask = pad_sequence(
        [torch.ones(len(row["prompt_ids"]), dtype=torch.long) for row in rows], True, padding_side="left"
    )
    batch = {
        "prompt_ids": padded("prompt_ids", "left"), "prompt_mask": prompt_mask,
        "completion_ids": padded("completion_ids", "right"), "completion_mask": completion_mask,
        "tool_mask": padded("env_mask", "right", 1), "advantages": torch.linspace(-1, 1, len(rows)),
        "num_items_in_batch": completion_mask.sum(),
    }  # fmt: skip
    seconds = []
    for trainer in (ours, trls):
        trainer._buffered_inputs, trainer._step = [batch], 1
        trainer.args.steps_per_generation, trainer.num_iterations = 1, 10**9
        trainer.model.zero_grad()
        began = time.perf_counter()
        trainer.training_step(trainer.model, None, None)
        seconds.append(time.perf_counter() - began)
    return seconds[0] / seconds[1]


def show(result: Mapping[str, Any]) -> None:
    for name, ratio in result["rollouts"].items():
        print(f"{name:8} {result['student_tokens_per_s'][name]:10,.0f} student tokens/s   {ratio:5.2f} of TRL's")
    print(f"an update takes {result['step']:.2f} of TRL's time")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="bundled:student-relay")
    parser.add_argument("--teacher", default="bundled:teacher")
    parser.add_argument("--trigger", default="commands", help="what makes a call; a student of your own needs another")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=160)
    parser.add_argument("--update-rows", type=int, help="answers of an update, where TRL's would need too much memory")
    parser.add_argument("--tokens-per-forward", type=int, default=16384)
    parser.add_argument("--delay-s", type=float, default=20.0)
    parser.add_argument("--delayed", type=float, default=0.1, help="share of the calls that are delayed")
    parser.add_argument("--rounds", type=int, default=3)
    add_task_option(parser)
    add_output_options(parser)
    options = parser.parse_args(argv)
    return run_benchmark(options, lambda: measured(options), show)


if __name__ == "__main__":
    raise SystemExit(main())
