r"""What runs in the grading process: reads pairs of expressions from standard input, and writes whether they are equal.

A line of input is ``{"right", "found", "tolerance"}``; a line of output is ``{"equal": bool}`` or ``{"error": str}``.
A comparison that exceeds the time limit ends the process, even if its code cannot be interrupted. The limit is on the
processor's time, where the system can limit that: what is graded must not depend on what else the machine does.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

_MEMORY_BYTES = 4 << 30


def serve(limit_s: float) -> None:
    """Answer until the input ends.

    Args:
        limit_s: seconds of processor time for a comparison.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    nowhere = open(os.devnull, "w")  # noqa: SIM115  # until the process ends
    os.dup2(nowhere.fileno(), 1)  # what a library prints is no answer
    _limit_memory()
    logging.disable(logging.CRITICAL)
    import math_verify  # noqa: F401  # slow, and so not within the first comparison's limit

    from relay_core.evaluate.grading.values import equal

    answers.write("{}\n")
    for line in sys.stdin:
        with _ending_after(limit_s, nowhere):
            try:
                answer: dict[str, Any] = {"equal": equal(**json.loads(line))}
            except Exception as error:  # of any of the libraries
                answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")


@contextmanager
def _ending_after(limit_s: float, nowhere: TextIO) -> Iterator[None]:
    """End this process if the block takes longer."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, limit_s)  # its signal ends the process
        yield
        signal.setitimer(signal.ITIMER_PROF, 0)
    else:  # Windows
        faulthandler.dump_traceback_later(limit_s, exit=True, file=nowhere)
        yield
        faulthandler.cancel_dump_traceback_later()


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = _MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(_MEMORY_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
