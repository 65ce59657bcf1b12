"""Blocking calls on the background loop: results, errors, interrupts and early ends."""

import asyncio
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from relay_core import portal


class Work:
    """An async generator that sets ``ended`` when it ends or is cancelled."""

    def __init__(self, items: int = 3, error: BaseException | None = None, forever: bool = True) -> None:
        self.items, self.error, self.forever = items, error, forever
        self.ended = threading.Event()

    async def __call__(self) -> AsyncGenerator[int, None]:
        try:
            for i in range(self.items):
                yield i
            if self.error is not None:
                raise self.error
            if self.forever:
                await asyncio.sleep(3600)
        finally:
            self.ended.set()


async def thread_name() -> str:
    return threading.current_thread().name


def test_all_work_runs_on_one_background_loop() -> None:
    async def loop() -> int:
        return id(asyncio.get_running_loop())

    assert portal.run(loop) == portal.run(loop)
    assert portal.run(thread_name) == "relay"


async def test_inside_a_running_loop() -> None:
    assert portal.run(thread_name) == "relay"
    assert list(portal.iterate(Work(forever=False))) == [0, 1, 2]


def test_from_many_threads_at_once() -> None:
    names: list[str] = []
    threads = [threading.Thread(target=lambda: names.append(portal.run(thread_name))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == ["relay"] * 8


def test_exceptions_reach_the_caller() -> None:
    async def fail() -> None:
        raise LookupError("lost")

    with pytest.raises(LookupError, match="lost"):
        portal.run(fail)
    got = []
    with pytest.raises(LookupError, match="midway"):
        got.extend(portal.iterate(Work(error=LookupError("midway"))))
    work = portal.iterate(Work(error=LookupError("midway")))
    assert [next(work), next(work), next(work)] == [0, 1, 2]
    with pytest.raises(LookupError):
        next(work)


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_closing_early_cancels_the_work_within_a_second(taken: int) -> None:
    work = Work()
    stream = portal.iterate(work)
    got = [next(stream) for _ in range(taken)]
    began = time.monotonic()
    stream.close()
    assert time.monotonic() - began < 1
    assert got == list(range(taken))
    assert work.ended.is_set() == (taken > 0), "a generator closed before its first item never begins"


def test_leaving_a_for_loop_cancels_the_work() -> None:
    work = Work()
    for _ in portal.iterate(work):
        break
    assert work.ended.wait(1)


def test_an_error_in_the_consumer_cancels_the_work() -> None:
    work = Work()
    stream = portal.iterate(work)
    next(stream)
    with pytest.raises(KeyboardInterrupt):
        stream.throw(KeyboardInterrupt())
    assert work.ended.is_set()


@pytest.mark.parametrize("kind", ["run", "iterate"])
def test_an_interrupt_while_waiting_cancels_the_work(kind: str, ctrl_c: Any) -> None:
    began, cancelled = threading.Event(), threading.Event()

    async def wait() -> AsyncGenerator[int, None]:
        began.set()
        try:
            await asyncio.sleep(3600)
            yield 1
        finally:
            cancelled.set()

    async def drain() -> None:
        async for _ in wait():
            pass

    ctrl_c(began.is_set)
    with pytest.raises(KeyboardInterrupt):
        portal.run(drain) if kind == "run" else next(portal.iterate(wait))
    assert cancelled.wait(1)


def test_the_interpreter_ends_while_work_is_left() -> None:
    script = """
        import asyncio
        from relay_core import portal
        async def forever():
            yield 1
            await asyncio.sleep(3600)
        kept = portal.iterate(forever)
        print(next(kept))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_a_stopped_loop_starts_again() -> None:
    portal.run(thread_name)
    portal._background.stop()
    assert portal.run(thread_name) == "relay"


def test_a_blocking_call_on_the_loops_own_thread_says_what_to_call(tmp_path) -> None:
    """It would wait for itself, without an end."""
    from relay_core import ConfigurationError, Relay, ScriptedEngine

    inner = Relay(ScriptedEngine("inner", None), None)
    calls = {
        "generate": lambda: inner.generate("Q"),
        "stream": lambda: list(inner.stream("Q")),
        "batch": lambda: inner.batch(["Q"]),
    }
    for name, call in calls.items():
        outer = Relay(ScriptedEngine(lambda prompt, call=call: str(call()), None), None)
        with pytest.raises(ConfigurationError, match=f"{name}.*await its async form"):
            outer.generate("Q")
    assert inner.generate("Q").text == "inner"


def test_an_iterator_that_is_collected_on_the_loops_thread_does_not_block_it() -> None:
    work = Work()
    held = [portal.iterate(work)]
    assert next(held[0]) == 0

    async def let_go() -> float:
        began = time.monotonic()
        held.clear()
        return time.monotonic() - began

    assert portal.run(let_go) < 2
    assert work.ended.wait(5)


FORK = """
import os, sys, threading
from relay_core import Relay, ScriptedEngine, portal

relay = Relay(ScriptedEngine("fine", None), None)
assert relay.generate("Q").text == "fine"
holder = threading.Thread(target=lambda: (portal._background._lock.acquire(), threading.Event().wait()), daemon=True)
holder.start()
while not portal._background._lock.locked():
    pass
child = os.fork()
if not child:
    os._exit(0 if relay.generate("Q").text == "fine" and relay.batch(["Q"] * 3)[2].text == "fine" else 1)
assert os.waitpid(child, 0)[1] == 0
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="the system has no fork")
def test_a_forked_child_answers_though_another_thread_held_the_lock() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], check=True, timeout=60)
