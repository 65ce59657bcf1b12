"""Seeds beside each other: each in its own process, which ends with the others."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from relay_core.errors import ConfigurationError, EngineError
from relay_core.evaluate.reproduce.beside import check_processes, for_each_seed
from testing.seeds import fails_with, is_killed, threads_of


def test_a_process_has_its_share_of_the_cores():
    found = for_each_seed(threads_of, [3, 1], processes=2)
    assert list(found) == [3, 1] and [seed for seed, _, _ in found.values()] == [3, 1]
    processes = {process for _, process, _ in found.values()}
    assert os.getpid() not in processes
    assert {threads for _, _, threads in found.values()} == {max(1, (os.cpu_count() or 1) // 2)}


@pytest.mark.parametrize(("seeds", "processes"), [([3, 1], 1), ([4], 2)])
def test_one_process_is_this_one(seeds, processes):
    found = for_each_seed(threads_of, seeds, processes=processes)
    assert [(seed, process) for seed, process, _ in found.values()] == [(seed, os.getpid()) for seed in seeds]


@pytest.mark.parametrize("failing", [0, 1])
def test_the_error_of_one_seed_does_not_wait_for_the_others(failing):
    began = time.monotonic()
    with pytest.raises(ConfigurationError, match=f"seed {failing} cannot be evaluated"):
        for_each_seed(partial(fails_with, failing), [0, 1], processes=2)
    assert time.monotonic() - began < 50


def test_a_process_that_was_killed_is_an_error_that_says_what_to_write():
    with pytest.raises(EngineError, match="with --processes 1, it needs less memory"):
        for_each_seed(is_killed, [0, 1], processes=2)


def test_the_processes_end_with_their_parent(tmp_path):
    code = (
        "from functools import partial\n"
        "from relay_core.evaluate.reproduce.beside import for_each_seed\n"
        "from testing.seeds import says_who_it_is\n"
        "if __name__ == '__main__':\n"
        f"    for_each_seed(partial(says_who_it_is, {str(tmp_path)!r}), [0, 1], processes=2)\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code)
    parent = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": os.getcwd()})
    try:
        until = time.monotonic() + 50
        while not all((tmp_path / name).exists() for name in "01") and time.monotonic() < until:
            time.sleep(0.1)
        children = [int((tmp_path / name).read_text()) for name in "01"]
    finally:
        parent.kill()
    parent.wait()
    until = time.monotonic() + 20
    while any(map(_runs, children)) and time.monotonic() < until:
        time.sleep(0.1)
    left = [child for child in children if _runs(child)]
    for child in left:
        os.kill(child, signal.SIGKILL)
    assert not left


def _runs(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_number_of_processes_is_checked():
    assert check_processes(2) == 2
    with pytest.raises(ConfigurationError, match="--processes is 0: write 1 or more"):
        check_processes(0)
