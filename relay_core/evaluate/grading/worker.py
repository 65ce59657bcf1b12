"""The process in which math-verify runs, and the time limit of a comparison.

Comparing two expressions may take forever, and only the end of a process ends it for sure: Python's signals reach the
main thread only, and grading runs in other threads. The process starts when it is first needed, and serves this process
until it ends. It ends when its input ends, so that even a killed parent leaves none behind.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from typing import Any

from relay_core.errors import GradingError

LIMIT_S = 10.0
"""Seconds of processor time for a comparison; most take milliseconds."""
_WALL = 6  # times as many seconds may pass, on a busy machine
_START_S = 120.0
_RUN = (
    "import sys; sys.path[:] = sys.argv[2:]\n"
    "from relay_core.evaluate.grading.server import serve; serve(float(sys.argv[1]))"
)


class Worker:
    """One grading process, used by one thread at a time.

    Args:
        limit_s: seconds of processor time for a comparison; six times as many may pass.
    """

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self.limit_s = limit_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """What the process answers.

        Raises:
            GradingError: the process exceeded the time limit, or ended.
        """
        with self._lock:
            try:
                process = self._process or self._start()
                assert process.stdin is not None
                process.stdin.write(json.dumps(request).encode() + b"\n")
                return self._read(process, self.limit_s * _WALL)  # the process ends itself before
            except OSError as error:
                self._end()
                raise GradingError(f"the grading process cannot be used: {error}") from error
            except BaseException:  # an interrupt as well: the next reader must not get this answer
                self._end()
                raise

    def close(self) -> None:
        """End the process, if there is one; the next request starts another."""
        with self._lock:
            self._end()

    def forget(self) -> None:
        """In a forked child: the process belongs to the parent."""
        process, self._process, self._lock = self._process, None, threading.Lock()
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()  # else the process would outlive the parent for as long as this child lives
            process.returncode = 0  # it is not this process's to wait for

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", _RUN, str(self.limit_s), *sys.path]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, bufsize=0)
        self._read(self._process, _START_S)
        return self._process

    def _read(self, process: subprocess.Popen[bytes], limit_s: float) -> dict[str, Any]:
        assert process.stdout is not None
        killer = threading.Timer(limit_s, process.kill)
        killer.daemon = True
        killer.start()
        try:
            line = _line(process)
        finally:
            killer.cancel()
        if not line.endswith(b"\n"):
            raise GradingError(
                f"comparing took more than {self.limit_s:g} s, or the grading process failed (code {process.wait()})"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()
            process.wait()


def _line(process: subprocess.Popen[bytes]) -> bytes:
    """The next line of output, which is shorter than a pipe's buffer; what there is, if the process ends."""
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n") and (read := process.stdout.read(1 << 16)):
        line += read
    return line


_worker = Worker()
atexit.register(_worker.close)
if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_worker.forget)


def equal(right: str, found: str, *, tolerance: float) -> bool:
    """Whether two expressions are equal, by math-verify.

    Args:
        right, found: LaTeX.
        tolerance: how far two numbers may lie apart.

    Raises:
        GradingError: the comparison took too long or failed, or the right expression cannot be read.
    """
    answer = _worker.ask({"right": right, "found": found, "tolerance": tolerance})
    if "error" in answer:
        raise GradingError(f"comparing {found!r} with the right answer {right!r} failed: {answer['error']}")
    return bool(answer["equal"])
