"""Checkpoints of the Trainer: the newest one that is whole, and what a full disk leaves."""

from __future__ import annotations

import contextlib
import errno
import json
import re
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from relay_core.errors import TrainingError
from relay_core.train import processes

_LITTLE = 64 * 2**20  # bytes; a disk with less is full


def last_checkpoint(out: Path) -> str | None:
    """The newest whole checkpoint in ``out``, or ``None``; a newer one that is damaged is named on standard error.

    The Trainer writes ``trainer_state.json`` last: a checkpoint without it is what a kill leaves.
    """
    numbered = [(int(m[1]), folder) for folder in out.glob("checkpoint-*") if (m := _NAME.fullmatch(folder.name))]
    for _, folder in sorted(numbered, reverse=True):
        if not (folder / "trainer_state.json").exists():
            continue
        reason = damage(folder, processes.world_size())
        if reason is None:
            return str(folder)
        if processes.is_main():
            print(f"{folder} is damaged ({reason}): going on from the checkpoint before it", file=sys.stderr)
    return None


_NAME = re.compile(r"checkpoint-(\d+)")


def damage(folder: Path, world: int = 1) -> str | None:
    """What is wrong with a checkpoint; ``None`` if it can be resumed from by ``world`` processes."""
    from safetensors import SafetensorError, safe_open

    try:
        json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "trainer_state.json cannot be read"
    for file in sorted(folder.rglob("*.safetensors")):
        try:
            with safe_open(str(file), framework="pt"):
                pass
        except (OSError, SafetensorError):
            return f"{file.name} cannot be read"
    for file in sorted([*folder.rglob("*.pt"), *folder.rglob("*.pth")]):
        try:
            with zipfile.ZipFile(file) as archive:
                if archive.testzip() is not None:
                    return f"{file.name} cannot be read"
        except (OSError, zipfile.BadZipFile):
            return f"{file.name} cannot be read"
    random_states = len(list(folder.glob("rng_state*.pth")))
    if random_states not in (0, world):
        return f"it was written by {random_states} processes, and this run has {world}"
    return None


@contextlib.contextmanager
def disk_errors(out: Path) -> Iterator[None]:
    """Translate what libraries raise on a full disk into TrainingError."""
    try:
        yield
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if not full and (isinstance(error, TrainingError) or shutil.disk_usage(out).free > _LITTLE):
            raise
        raise TrainingError(
            f"the disk of {out} is full ({type(error).__name__}): free some space, then start the same command again; "
            "it goes on from the last whole checkpoint"
        ) from error
