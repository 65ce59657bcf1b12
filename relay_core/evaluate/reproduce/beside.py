"""Evaluations of several seeds beside each other, one process each.

Small models leave all but one core idle: their tokens are decoded one after the other, mostly by Python.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from typing import TypeVar

from relay_core.errors import ConfigurationError, EngineError

T = TypeVar("T")


def for_each_seed(evaluate: Callable[[int], T], seeds: Sequence[int], *, processes: int) -> Mapping[int, T]:
    """``evaluate`` of every seed.

    Args:
        evaluate: evaluates with one seed. With several processes, it and its result are pickled.
        seeds: the seeds.
        processes: the most processes; one evaluates here, seed after seed.

    Raises:
        RelayError: what ``evaluate`` raised with any seed; the other seeds are not waited for.
        EngineError: a process was killed; all earlier answers are kept.
    """
    processes = min(processes, len(seeds))
    if processes < 2:
        return {seed: evaluate(seed) for seed in seeds}
    threads = max(1, (os.cpu_count() or 1) // processes)
    others = set(active_children())
    # Not forked: a fork would inherit torch's threads in whatever state they are.
    with ProcessPoolExecutor(processes, get_context("spawn"), _begin, (os.getpid(), threads)) as pool:
        evaluated = {seed: pool.submit(evaluate, seed) for seed in seeds}
        try:
            for first in wait(evaluated.values(), return_when=FIRST_EXCEPTION).done:
                first.result()
            return {seed: result.result() for seed, result in evaluated.items()}
        except BaseException as error:
            for child in set(active_children()) - others:
                child.terminate()
            if isinstance(error, BrokenProcessPool):
                raise EngineError(
                    "a process that evaluated one of the seeds was killed, perhaps for its memory: the same command "
                    "goes on; with --processes 1, it needs less memory"
                ) from error
            raise


def _begin(parent: int, threads: int) -> None:
    """What a process does first: it takes its share of the cores, and ends when its parent does."""
    import torch

    torch.set_num_threads(threads)

    def end_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def check_processes(processes: int) -> int:
    """``processes``, if it is a number of processes.

    Raises:
        ConfigurationError: it is not.
    """
    if processes < 1:
        raise ConfigurationError(f"--processes is {processes}: write 1 or more")
    return processes
