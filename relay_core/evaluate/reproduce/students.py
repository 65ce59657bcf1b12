"""The students of a pair's ablations and CITER's head: where they are, and how those that are missing are trained."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from relay_core.errors import ConfigurationError, TrainingError
from relay_core.evaluate.reproduce.pairs import Pair


def ablation_students(pair: Pair, shipped: Sequence[Path], folder: Path, *, train: bool) -> dict[str, str]:
    """The engine spec of the student of each ablation.

    Args:
        pair: the pair.
        shipped: folders with students that need no training, by the ablation's name; the first one counts.
        folder: one folder for each run of training, by the ablation's name.
        train: whether to train those that are in neither.

    Raises:
        ConfigurationError: a student is missing and is not to be trained.
        TrainingError: a training run failed.
    """
    found: dict[str, str] = {}
    for name, flags in pair.ablations.items():
        out = folder / name
        students = (*(place / name for place in shipped), out / "student-relay")
        student = next((place for place in students if (place / "config.json").exists()), None)
        if student is None:
            student = out / "student-relay"
            command = ["relay_core.train", "all", *pair.recipe, *flags, "--out", str(out)]
            _run(command, f"the student {name}", train=train)
        found[name] = str(student)
    return found


def citer_head(pair: Pair, shipped: Sequence[Path], folder: Path, *, train: bool) -> str:
    """The folder of CITER's head; takes and raises what :func:`ablation_students` does."""
    for place in shipped:
        if (place / "citer" / "head.json").exists():
            return str(place / "citer")
    head = folder / "citer"
    if not (head / "head.json").exists():
        models = ["--student", pair.base or pair.student, "--teacher", pair.teacher]
        command = ["relay_core.evaluate.citer", "train", *models, "--task", pair.benchmark, "--out", str(head)]
        _run(command, "CITER's head", train=train)
    return str(head)


def _run(command: Sequence[str], what: str, *, train: bool) -> None:
    """Train in a process of its own, whose progress is shown on standard error."""
    words = [sys.executable, "-m", *command]
    if not train:
        raise ConfigurationError(f"{what} is missing: leave --no-train out, or run {' '.join(words)}")
    print(f"training {what}", file=sys.stderr)
    done = subprocess.run(words, stdout=sys.stderr, check=False)
    if done.returncode:
        raise TrainingError(f"training {what} failed: see its messages above, or run {' '.join(words)}")
