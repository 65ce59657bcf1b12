"""Binding child processes to CPUs, so that two models on one machine do not compete for the same CPUs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from relay_core.errors import ConfigurationError

_THREADS = "/proc/self/task"


def check_processors(cpus: Iterable[int]) -> frozenset[int]:
    """``cpus`` as a set.

    Raises:
        ConfigurationError: the machine has no such CPUs, or its operating system cannot bind processes to CPUs.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise ConfigurationError("cpus is given, but this system cannot bind processes to CPUs: leave it out")
    existing = range(os.cpu_count() or 1)
    numbers = list(cpus) if isinstance(cpus, Iterable) else []
    if not numbers or not all(type(cpu) is int and cpu in existing for cpu in numbers):
        raise ConfigurationError(f"cpus is {cpus!r}: write a list with some of 0 to {existing[-1]}")
    return frozenset(numbers)


@contextmanager
def child_processes_on(cpus: frozenset[int] | None) -> Iterator[None]:
    """Bind the processes that this thread starts within the context to ``cpus``; ``None`` binds nothing.

    Child processes inherit the CPUs of the thread that starts them, so this thread itself is bound within the context.
    At the end, this thread and the threads that it has started return to the former CPUs.

    Raises:
        ConfigurationError: this process may not use these CPUs.
    """
    if cpus is None:
        yield
        return
    former_cpus, former_threads = os.sched_getaffinity(0), set(os.listdir(_THREADS))
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        raise ConfigurationError(f"cpus is {sorted(cpus)}: none of them is for this process") from error
    try:
        yield
    finally:
        os.sched_setaffinity(0, former_cpus)
        for thread in set(os.listdir(_THREADS)) - former_threads:
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), former_cpus)
