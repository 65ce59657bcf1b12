"""The parts of Hugging Face's Trainer that warm-up and GRPO use: arguments, progress, and the stop at NaN."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from relay_core.errors import ConfigurationError, TrainingError
from relay_core.train import processes
from relay_core.train.live_table import LiveTable

T = TypeVar("T")


def common_values(out: Path, *, seed: int) -> dict[str, Any]:
    """The Trainer's arguments in both stages: float32, no gradient checkpointing, TensorBoard's files in ``out``.

    It also sets two environment variables and a log level, for which the Trainer has no arguments.
    """
    import torch

    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(out / "tensorboard")
    logging.getLogger("transformers.trainer").setLevel(logging.ERROR)
    logging.getLogger("trl.trainer.grpo_trainer").setLevel(logging.ERROR)  # it prints each answer without a reward
    return {
        "output_dir": str(out),
        "seed": seed,
        "data_seed": seed,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": False,
        "logging_nan_inf_filter": False,
        "gradient_checkpointing": False,
        "report_to": ["tensorboard"],
        "logging_steps": 10,
        "save_strategy": "steps",
        "save_steps": 100,
        "save_total_limit": 2,
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
    }


def arguments(cls: type[T], section: str, values: Mapping[str, Any]) -> T:
    """Build TRL's configuration object from a recipe's values.

    Args:
        cls: ``SFTConfig`` or ``GRPOConfig``.
        section: the name of the recipe's section, for errors.
        values: the arguments of ``cls``.

    Raises:
        ConfigurationError: TRL does not know a name, or refuses a value.
    """
    names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if "activation_checkpointing" in names and "gradient_checkpointing" in values:  # its name since transformers 5.24
        values = {"activation_checkpointing": values["gradient_checkpointing"], **values}
    for name in values:
        if name not in names:
            nearest = difflib.get_close_matches(name, names, n=1)  # TRL has too many names to list
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            raise ConfigurationError(f"{section}.trainer.{name}: {cls.__name__} has no such value{hint}")
    try:
        return parsed(cls, values)
    except (TypeError, ValueError, argparse.ArgumentError) as error:
        raise ConfigurationError(f"{section}.trainer: {error}") from error


def parsed(cls: type[T], values: Mapping[str, Any]) -> T:
    """Build a configuration with TRL's own parser, which reads ``1e-6`` (text, for YAML) and a mapping as TRL does.

    Raises:
        ValueError, argparse.ArgumentError: a value cannot be read, or is refused.
    """
    from trl import TrlParser

    parser = TrlParser([cls])
    parser.exit_on_error = False  # raise instead
    parser.set_defaults_with_config(**{name: value for name, value in values.items() if value is not None})
    (config,) = parser.parse_args_into_dataclasses(args=[])
    for name in [name for name, value in values.items() if value is None]:
        setattr(config, name, None)
    return config  # type: ignore[no-any-return]


class PlainAttentionOnCPU:
    """Before Hugging Face's Trainer among a class's bases: plain matrix products instead of PyTorch's fused attention,
    where a CPU computes in bfloat16.

    There, the backward pass of the fused kernel took half of the time of an update: 2.0 of 4.3 s for 8 x 150 tokens of
    a model of 135M parameters on 2 vCPUs with AMX, and 3.1 s in all without it. In float32 it is the faster one.
    """

    args: Any

    def compute_loss_context_manager(self) -> contextlib.ExitStack:
        """What a loss is computed in."""
        from torch.nn.attention import SDPBackend, sdpa_kernel

        stack = contextlib.ExitStack()
        stack.enter_context(super().compute_loss_context_manager())  # type: ignore[misc]
        if self.args.bf16 and self.args.device.type == "cpu":
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        return stack


class _Complete(Exception):
    """The checkpoint holds the last step."""


def train(trainer: Any, checkpoint: str | None) -> None:
    """Train from a checkpoint on, or from the beginning.

    A checkpoint of the last step is loaded, and nothing is trained: by itself, the Trainer would do one more step, with
    one more rollout, if the run was killed before it saved its student.
    """
    from transformers import TrainerCallback

    class Callback(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step >= state.max_steps:
                raise _Complete

    trainer.add_callback(Callback())
    if checkpoint is not None:
        processes.say(f"{Path(trainer.args.output_dir).name}: goes on from {Path(checkpoint).name}")
    with contextlib.suppress(_Complete):
        trainer.train(resume_from_checkpoint=checkpoint)


def full_state(trainer: Any) -> dict[str, Any] | None:
    """All weights, in the main process, if each process holds a part of them (FSDP, ZeRO-3); otherwise ``None``."""
    from accelerate import DistributedType

    if trainer.accelerator.distributed_type not in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        return None
    state: dict[str, Any] = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    return state


def stops_at_nan(out: Path) -> Any:
    """A callback that raises TrainingError before an update whose gradients are not finite."""
    import torch
    from transformers import TrainerCallback

    class Callback(TrainerCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            gradients = [p.grad for p in model.parameters() if p.grad is not None]
            norms = torch._foreach_norm(gradients) if gradients else []
            if not all(bool(torch.isfinite(norm)) for norm in norms):
                raise TrainingError(not_finite("gradient", state.global_step, out))

    return Callback()


def not_finite(what: str, step: int, out: Path | str) -> str:
    """The message of a run that diverged."""
    return (
        f"the {what} is not finite at step {step}: training has diverged, and the last checkpoint in {out} holds the "
        "weights before. Lower the learning rate or max_grad_norm, or raise beta, and choose another --out"
    )


class TrainerProgress:
    """Shows a Trainer's progress instead of the Trainer's own bars and prints, in the main process; a context manager.

    Args:
        label: the stage's name.
        logged: the logged value to show beside the count; ``None`` if :meth:`show` sets the text.
        unit: optimizer steps per step of the progress.
        every_s: seconds between two lines if there is no terminal.
    """

    def __init__(self, label: str, *, logged: str | None = None, unit: int = 1, every_s: float = 15.0) -> None:
        self._label, self._logged, self._unit, self._every_s = label, logged, unit, every_s
        self._open = contextlib.ExitStack()
        self._note = ""
        self._progress: LiveTable | None = None

    def attach(self, trainer: Any) -> None:
        """Show the progress of ``trainer``, and stop it from printing."""
        from transformers import PrinterCallback, TrainerCallback

        outer = self

        class Callback(TrainerCallback):  # type: ignore[misc]
            def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                outer._begin(state.max_steps, state.global_step)

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
                if outer._logged is not None and logs and outer._logged in logs:
                    outer.show(f"{outer._logged} {logs[outer._logged]:.4f}")

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if outer._progress is not None and state.global_step % outer._unit == 0:
                    outer._progress.step(outer._note)

        trainer.remove_callback(PrinterCallback)
        if processes.is_main():
            trainer.add_callback(Callback())

    def show(self, note: str, figures: Mapping[str, float] | None = None) -> None:
        """Show ``note`` beside the count from now on; on a terminal, a rollout's figures in a table instead."""
        self._note = note
        if figures is not None and self._progress is not None:
            self._progress.show(figures)

    def _begin(self, steps: int, done: int) -> None:
        progress = LiveTable(self._label, steps // self._unit, done=done // self._unit, every_s=self._every_s)
        self._progress = self._open.enter_context(progress)

    def __enter__(self) -> TrainerProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
