"""Which processors another process runs on, so that two models on one machine do not fight over them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from relay_core.errors import ConfigurationError

_THREADS = "/proc/self/task"


def check_processors(cpus: Iterable[int]) -> frozenset[int]:
    """``cpus`` as a set.

    Raises:
        ConfigurationError: there are none such, or the system (not Linux) has no way to keep to them.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise ConfigurationError("cpus is given, but this system has no way to keep to them: leave it out")
    there = range(os.cpu_count() or 1)
    wanted = list(cpus) if isinstance(cpus, Iterable) else []
    if not wanted or not all(type(cpu) is int and cpu in there for cpu in wanted):
        raise ConfigurationError(f"cpus is {cpus!r}: write a list with some of 0 to {there[-1]}")
    return frozenset(wanted)


@contextmanager
def processes_on(cpus: frozenset[int] | None) -> Iterator[None]:
    """Processes begun in here, by this thread, run on ``cpus``; threads begun in here run where this one did.

    Raises:
        ConfigurationError: this process is not allowed to use them.
    """
    if cpus is None:
        yield
        return
    mine, before = os.sched_getaffinity(0), set(os.listdir(_THREADS))
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        raise ConfigurationError(f"cpus is {sorted(cpus)}: none of them is for this process") from error
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)
        for thread in set(os.listdir(_THREADS)) - before:
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), mine)
