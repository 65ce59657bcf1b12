"""How much memory a device has free, and what the engines of this process hold or will need of it."""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

#: held while a cache is sized and made, so that two engines do not take the same memory
ALLOCATING = threading.Lock()


def _begin_anew() -> None:
    """In a forked child: the thread that may hold the lock is not there."""
    global ALLOCATING
    ALLOCATING = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)

#: the limit and the use of a container, by cgroups v2 and v1, with the name of the reclaimable part of the use
_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat", "inactive_file"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
        "total_inactive_file",
    ),
)


class Holder(Protocol):
    """An engine as this module sees it."""

    def held_bytes(self, device: torch.device) -> int:
        """Bytes that its model holds on ``device`` and that the system counts as free: pages of mapped files."""

    def expected_bytes(self, device: torch.device) -> int:
        """Bytes that its model will take on ``device`` when it is loaded; 0 once it is."""


#: engines that are not closed; those that have not started are expected to
holders: weakref.WeakSet[Holder] = weakref.WeakSet()
#: bytes of the caches that were made, by their managers
caches: weakref.WeakKeyDictionary[object, int] = weakref.WeakKeyDictionary()


def advice() -> str:
    """What to change after this process ran out of memory while it generated."""
    largest = max(caches.values(), default=0) / 2**30
    if not largest:
        return "A smaller cache_gib leaves the model more memory."
    return f"The largest cache of this process takes {largest:.2g} GiB: cache_gib={largest / 2:.2g} leaves more memory."


def free_bytes(device: torch.device) -> int:
    """Bytes that can be allocated on ``device`` now, without what this process's engines hold in mapped files."""
    held = sum(holder.held_bytes(device) for holder in list(holders))
    return max(0, _system_free(device) - held)


def expected_bytes(device: torch.device, *, without: Holder | None = None) -> int:
    """Bytes that the models of engines that have not started will take on ``device``."""
    return sum(holder.expected_bytes(device) for holder in list(holders) if holder is not without)


def _system_free(device: torch.device) -> int:
    import psutil  # type: ignore[import-untyped]
    import torch

    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        cached: int = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + cached
    available: int = psutil.virtual_memory().available
    return min([available, *_left_in_container()])


def _left_in_container() -> list[int]:
    """What the limits of a container leave; nothing if there is none."""
    left: list[int] = []
    for limit_path, use_path, stat_path, reclaimable_name in _CGROUPS:
        with suppress(OSError, ValueError):  # not there, or "max"
            limit, use = int(Path(limit_path).read_text()), int(Path(use_path).read_text())
            statistics = dict(line.split() for line in Path(stat_path).read_text().splitlines())
            left.append(limit - use + int(statistics.get(reclaimable_name, 0)))
    return left
