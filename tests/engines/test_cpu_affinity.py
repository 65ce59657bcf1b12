"""Child processes are bound to CPUs; this process and its threads stay where they were."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from relay_core.engines.cpu_affinity import check_processors, child_processes_on
from relay_core.engines.vllm import VLLMEngine
from relay_core.errors import ConfigurationError

PRINT_CPUS = "import os; print(*sorted(os.sched_getaffinity(0)))"
OWN_CPUS = sorted(os.sched_getaffinity(0))


def cpus_of_a_child() -> list[int]:
    child = subprocess.run([sys.executable, "-c", PRINT_CPUS], capture_output=True, text=True, check=True)
    return [int(cpu) for cpu in child.stdout.split()]


def test_children_are_bound_and_this_process_is_not() -> None:
    one = frozenset(OWN_CPUS[-1:])
    cpus_of_the_thread: list[set[int]] = []
    go = threading.Event()

    def work() -> None:
        go.wait(10)
        cpus_of_the_thread.append(os.sched_getaffinity(0))

    with child_processes_on(one):
        assert cpus_of_a_child() == sorted(one)
        thread = threading.Thread(target=work)
        thread.start()
    go.set()
    thread.join()
    assert cpus_of_the_thread == [set(OWN_CPUS)], "a thread that this process started meanwhile"
    assert cpus_of_a_child() == OWN_CPUS
    with child_processes_on(None):
        assert cpus_of_a_child() == OWN_CPUS


def test_the_cpus_are_restored_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), child_processes_on(frozenset(OWN_CPUS[:1])):
        raise ZeroDivisionError
    assert cpus_of_a_child() == OWN_CPUS


@pytest.mark.parametrize("cpus", [[], [-1], [os.cpu_count()], ["0"], [True], [[0]], 0, "0"])
def test_cpus_that_do_not_exist_are_refused(cpus: Any) -> None:
    with pytest.raises(ConfigurationError, match="write a list with some of 0 to"):
        check_processors(cpus)


def test_cpus_that_this_process_may_not_use_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int, cpus: object) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    with (
        pytest.raises(ConfigurationError, match="none of them is for this process"),
        child_processes_on(frozenset({0})),
    ):
        pass


def test_wrong_cpus_are_refused_when_the_engine_is_built() -> None:
    from relay_core import bundled

    with pytest.raises(ConfigurationError, match="cpus"):
        VLLMEngine(bundled.path("teacher"), cpus=[10_000])


def test_a_system_that_cannot_bind_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity")
    with pytest.raises(ConfigurationError, match="leave it out"):
        check_processors([0])
