"""The processes of a run that accelerate or torchrun started: who they are, and what they tell each other.

A run without a launcher is one process, for which everything here is immediate. Files are written by the main process
(rank 0) alone; the others wait for them.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")

# A process may wait for another one that still samples, for hours; torch's own limit is half an hour or less.
_PATIENCE = timedelta(hours=24)


def start() -> None:
    """Join the other processes, if a launcher started several; it does nothing the second time."""
    if world_size() > 1:
        import torch
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)


def world_size() -> int:
    """The number of processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """This process's number, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Whether this is the process that writes the run's files."""
    return rank() == 0


def say(text: str) -> None:
    """Print a line on standard error, in the main process."""
    if is_main():
        print(text, file=sys.stderr)


def barrier() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        import torch

        torch.distributed.barrier()


def gather(value: T) -> list[T]:
    """One value of every process, in the order of the ranks, in every process."""
    if world_size() == 1:
        return [value]
    import torch

    values: list[Any] = [None] * world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def gather_on_main(value: T) -> list[T]:
    """One value of every process, in the order of the ranks, in the main process; elsewhere an empty list."""
    if world_size() == 1:
        return [value]
    import torch

    values: list[Any] | None = [None] * world_size() if is_main() else None
    torch.distributed.gather_object(value, values, dst=0)
    return values or []
