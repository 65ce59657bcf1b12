"""The grading process: limits, threads, forks, and what is left of it."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from relay_core import GradingError
from relay_core.evaluate.grading import worker
from relay_core.evaluate.grading.compare import is_right
from relay_core.evaluate.grading.worker import Worker

HANGS = {"right": "9^{9^{9^9}}", "found": "x+1-x", "tolerance": 0.0}
EASY = {"right": r"\sqrt{4}", "found": "2", "tolerance": 0.0}


@pytest.fixture
def short():
    made = Worker(limit_s=0.5)
    yield made
    made.close()


def process_of(made: Worker) -> subprocess.Popen:
    assert made._process is not None
    return made._process


def test_a_comparison_that_hangs_is_ended_and_the_next_one_is_answered(short):
    assert short.ask(EASY) == {"equal": True}
    first = process_of(short)
    with pytest.raises(GradingError, match=r"more than 0\.5 s"):
        short.ask(HANGS)
    assert first.returncode in (-signal.SIGPROF, -signal.SIGKILL)  # by itself; on a busy machine perhaps from outside
    assert short.ask(EASY) == {"equal": True} and process_of(short).pid != first.pid


def test_a_process_that_does_not_end_itself_is_ended_from_outside(short):
    short.ask(EASY)
    os.kill(process_of(short).pid, signal.SIGSTOP)
    with pytest.raises(GradingError, match="failed"):
        short.ask(EASY)
    assert short.ask(EASY) == {"equal": True}


def test_a_process_that_was_killed_between_two_comparisons_is_a_failure_of_one(short):
    short.ask(EASY)
    process_of(short).kill()
    with pytest.raises(GradingError):
        short.ask(EASY)
    assert short.ask(EASY) == {"equal": True}


def test_an_error_in_it_is_an_error_here():
    with pytest.raises(GradingError, match="failed: ValueError"):
        worker.equal(r"\frac{", "x", tolerance=0.0)
    assert worker.equal("2x", "x+x", tolerance=0.0)


def test_an_interrupt_leaves_no_answer_for_the_next_one(short, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    short.ask(EASY)
    with monkeypatch.context() as patched:
        patched.setattr(worker, "_line", interrupted)
        with pytest.raises(KeyboardInterrupt):
            short.ask(EASY)
    assert short.ask({**EASY, "found": "3"}) == {"equal": False}


def test_threads_and_event_loops():
    texts = [rf"\boxed{{\sqrt{{{n * n}}}}}" for n in range(1, 17)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(is_right, texts, range(1, 17))) == [True] * 16

    async def all_of_them() -> list[bool]:
        return await asyncio.gather(*(asyncio.to_thread(is_right, text, 3) for text in texts))

    assert asyncio.run(all_of_them()) == [n == 3 for n in range(1, 17)]


def test_after_a_fork_the_child_has_a_process_of_its_own():
    code = """
import os
from relay_core.evaluate.grading import worker
assert worker.equal("2x", "x+x", tolerance=0.0)
before = worker._worker._process
child = os.fork()
if child == 0:
    fine = worker._worker._process is None and before.stdin.closed and worker.equal("2x", "x+x", tolerance=0.0)
    worker._worker.close()
    os._exit(0 if fine else 1)
assert os.waitpid(child, 0)[1] == 0
assert worker.equal("3x", "x+x+x", tolerance=0.0) and worker._worker._process is before
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("end", ["", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
def test_it_ends_with_its_parent_even_while_it_compares(end):
    hang = "threading.Thread(target=worker._worker.ask, args=[json.loads(sys.argv[1])], daemon=True).start()"
    code = f"""
import json, sys, threading, time
from relay_core.evaluate.grading import worker
worker._worker.limit_s = 2.0
assert worker.equal("2x", "x+x", tolerance=0.0)
print(worker._worker._process.pid, flush=True)
{hang if end else ""}
time.sleep(0.2)
{end}
"""
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(HANGS)], capture_output=True, text=True, timeout=120, check=False
    )
    pid = int(done.stdout)
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(timeout=60)
    assert not psutil.pid_exists(pid)


def test_nothing_starts_until_it_is_needed(packages_after):
    loaded = packages_after("from relay_core.evaluate.grading.compare import is_right; is_right('5', '5')")
    assert not loaded & {"math_verify", "sympy", "psutil"}
    assert threading.active_count() < 50
