"""The parts of Hugging Face's Trainer that warm-up and GRPO use: arguments, checkpoints to resume from, progress."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from relay_core.errors import ConfigurationError
from relay_core.evaluate.progress import Progress

T = TypeVar("T")


def common_values(out: Path, *, seed: int) -> dict[str, Any]:
    """The Trainer's arguments in both stages: float32, no gradient checkpointing, TensorBoard's files in ``out``.

    It also sets two environment variables and a log level, for which the Trainer has no arguments.
    """
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(out / "tensorboard")
    logging.getLogger("transformers.trainer").setLevel(logging.ERROR)
    return {
        "output_dir": str(out),
        "seed": seed,
        "data_seed": seed,
        "bf16": False,
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
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{section}.trainer: {error}") from error


def last_checkpoint(out: Path) -> str | None:
    """The newest checkpoint that was written completely, or ``None``.

    The Trainer writes ``trainer_state.json`` last, so a checkpoint without a readable one is incomplete.
    """
    complete = []
    for folder in out.glob("checkpoint-*"):
        number = re.fullmatch(r"checkpoint-(\d+)", folder.name)
        try:
            json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if number:
            complete.append((int(number[1]), str(folder)))
    return max(complete)[1] if complete else None


class TrainerProgress:
    """Shows a Trainer's progress instead of the Trainer's own bars and prints; a context manager.

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

    def attach(self, trainer: Any) -> None:
        """Show the progress of ``trainer``, and stop it from printing."""
        from transformers import PrinterCallback, TrainerCallback

        outer = self

        class Callback(TrainerCallback):  # type: ignore[misc]
            progress: Progress

            def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                self.progress = outer._begin(state.max_steps, state.global_step)

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
                if outer._logged is not None and logs and outer._logged in logs:
                    outer.show(f"{outer._logged} {logs[outer._logged]:.4f}")

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step % outer._unit == 0:
                    self.progress.step(outer._note)

        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(Callback())

    def show(self, note: str) -> None:
        """Show ``note`` beside the count from now on."""
        self._note = note

    def _begin(self, steps: int, done: int) -> Progress:
        progress = Progress(self._label, steps // self._unit, done=done // self._unit, every_s=self._every_s)
        return self._open.enter_context(progress)

    def __enter__(self) -> TrainerProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
