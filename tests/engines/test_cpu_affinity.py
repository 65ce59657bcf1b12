"""Keeping another process to some processors, and this one where it was."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from relay_core.engines.cpu_affinity import check_processors, processes_on
from relay_core.engines.vllm import VLLMEngine
from relay_core.errors import ConfigurationError

SAY = "import os; print(*sorted(os.sched_getaffinity(0)))"
HERE = sorted(os.sched_getaffinity(0))


def said_by_a_process() -> list[int]:
    said = subprocess.run([sys.executable, "-c", SAY], capture_output=True, text=True, check=True)
    return [int(cpu) for cpu in said.stdout.split()]


def test_processes_run_there_and_this_one_where_it_did() -> None:
    one = frozenset(HERE[-1:])
    ran: list[set[int]] = []
    go = threading.Event()

    def work() -> None:
        go.wait(10)
        ran.append(os.sched_getaffinity(0))

    with processes_on(one):
        assert said_by_a_process() == sorted(one)
        thread = threading.Thread(target=work)
        thread.start()
    go.set()
    thread.join()
    assert ran == [set(HERE)], "a thread of this process, begun meanwhile"
    assert said_by_a_process() == HERE
    with processes_on(None):
        assert said_by_a_process() == HERE


def test_also_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), processes_on(frozenset(HERE[:1])):
        raise ZeroDivisionError
    assert said_by_a_process() == HERE


@pytest.mark.parametrize("cpus", [[], [-1], [os.cpu_count()], ["0"], [True], [[0]], 0, "0"])
def test_what_there_is_not_is_refused(cpus: Any) -> None:
    with pytest.raises(ConfigurationError, match="write a list with some of 0 to"):
        check_processors(cpus)


def test_what_is_not_allowed_here_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int, cpus: object) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    with pytest.raises(ConfigurationError, match="none of them is for this process"), processes_on(frozenset({0})):
        pass


def test_refused_when_the_engine_is_built() -> None:
    from relay_core import bundled

    with pytest.raises(ConfigurationError, match="cpus"):
        VLLMEngine(bundled.path("teacher"), cpus=[10_000])


def test_a_system_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity")
    with pytest.raises(ConfigurationError, match="leave it out"):
        check_processors([0])
