"""What both stages ask of Hugging Face's Trainer: arguments, checkpoints that are whole, progress."""

from __future__ import annotations

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
from relay_core.train.progress import Progress

T = TypeVar("T")


def plain(out: Path, *, seed: int) -> dict[str, Any]:
    """Arguments of every run: float32, no recomputation, TensorBoard beside the checkpoints."""
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
    """TRL's configuration from a recipe's values.

    Raises:
        ConfigurationError: TRL knows no such name, or refuses the values.
    """
    names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in values:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigurationError(f"{section}.trainer.{name}: {cls.__name__} has no such value{hint}")
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{section}.trainer: {error}") from error


def last_checkpoint(out: Path) -> str | None:
    """The newest checkpoint that was written to its end, or ``None``.

    The Trainer writes `trainer_state.json` last: a checkpoint without a readable one was cut short by a kill.
    """
    found = []
    for folder in out.glob("checkpoint-*"):
        number = re.fullmatch(r"checkpoint-(\d+)", folder.name)
        try:
            json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if number:
            found.append((int(number[1]), str(folder)))
    return max(found)[1] if found else None


class Following:
    """Shows a Trainer's progress in place of its own bars and dictionaries.

    Args:
        label: the stage.
        note: the logged value to show beside the count; ``None`` where :meth:`say` is used.
        unit: optimizer steps that count as one.
        every_s: seconds between lines where there is no terminal.
    """

    def __init__(self, label: str, *, note: str | None = None, unit: int = 1, every_s: float = 15.0) -> None:
        self._label, self._note, self._unit, self._every_s = label, note, unit, every_s
        self._progress: Progress | None = None
        self._last = ""

    def attach(self, trainer: Any) -> None:
        """Follow this trainer; its own printing is taken away."""
        from transformers import PrinterCallback, TrainerCallback

        following = self

        class Callback(TrainerCallback):  # type: ignore[misc]
            def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                following._begin(state.max_steps, state.global_step)

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
                if following._note is not None and logs and following._note in logs:
                    following.say(f"{following._note} {logs[following._note]:.4f}")

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if following._progress is not None and state.global_step % following._unit == 0:
                    following._progress.step(following._last)

        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(Callback())

    def say(self, note: str) -> None:
        """What to show beside the count from now on."""
        self._last = note

    def _begin(self, steps: int, done: int) -> None:
        self._progress = Progress(
            self._label, steps // self._unit, done=done // self._unit, every_s=self._every_s
        ).__enter__()

    def __enter__(self) -> Following:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.__exit__(kind, error, trace)
