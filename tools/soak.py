"""Checks that nothing hangs or leaks: abandons answers at random points, closes engines in use, forks and spawns.

    python tools/soak.py                  9,000 answers, some minutes on two cores
    python tools/soak.py --answers 200    a short run, as the tests make it
    python tools/soak.py --seconds 600    at most this long

Each worker ends its answers in one of several ways: it cancels the task, closes the stream, drops the iterator, reads
to the end, or lets a deadline cut off the answer. Meanwhile, engines are closed, and children that generate answers are
forked and spawned. The engines are scripted engines, the bundled pair, and the scripted server of ``testing/`` on
loopback. The run fails if an answer takes longer than ``PATIENCE_S``, if a whole answer is wrong, or if streams, tasks,
threads, files or memory have grown at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import gc
import json
import math
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from relay_core import EngineError, Finished, Relay, ScriptedEngine

ROOT = Path(__file__).parents[1]
QUESTION = "A pen costs 62 coins. Sam wants a pen. First, Sam buys 3 pens and then 4 more. What does Sam pay in all?"
PATIENCE_S = 60
AT_A_TIME = 16
SHARES = {"scripted": 0.8, "server": 0.12, "bundled": 0.08}  # of the answers
MOST_GROWTH_MIB, MOST_GROWTH_FILES, MOST_GROWTH_THREADS = 150, 20, 8


class Scripted:
    """A scripted pair; ``active`` counts its open streams."""

    def __init__(self) -> None:
        self.student = ScriptedEngine([["47 * 6 = <call>3</call>"], [". Done."]], None, delay_s=0.001)
        self.teacher = ScriptedEngine("282", None, delay_s=0.001)

    def relay(self) -> Relay:
        return Relay(self.student, self.teacher)

    @property
    def active(self) -> int:
        return self.student.active + self.teacher.active


def answer_in_child() -> None:
    """Answer with a new relay and with a scripted one; the process's exit status says whether both are right."""
    relay = Scripted().relay()
    if relay.generate("47 * 6?").text != "47 * 6 = 282. Done.":
        sys.exit(1)


def scripted_in_fork(relay: Relay, expected: str) -> None:
    """Fork, and answer in the child with the parent's relay."""
    child = os.fork()
    if not child:
        signal.alarm(PATIENCE_S)  # ends a child that hangs
        os._exit(0 if relay.generate("47 * 6?").text == expected else 1)
    await_child(child)


def refused_in_fork(relay: Relay) -> None:
    """Fork, and see in the child that the loaded pair refuses to answer, at once."""
    child = os.fork()
    if not child:
        signal.alarm(PATIENCE_S)  # ends a child that hangs
        try:
            relay.generate(QUESTION)
        except ValueError as error:
            os._exit(0 if "was forked" in str(error) else 1)
        os._exit(2)
    await_child(child)


def await_child(child: int) -> None:
    """Raise unless the child ends well."""
    _, status = os.waitpid(child, 0)
    if status:
        raise AssertionError(f"a forked child ended with status {os.waitstatus_to_exitcode(status)}")


class Run:
    """One run: its random choices and its counts."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.ways: Counter[str] = Counter()
        self.closed_at: dict[str, float] = {}  # when an engine of this kind was closed last
        self.scripted = Scripted()
        self.relays: dict[str, Relay] = {"scripted": self.scripted.relay(), "bundled": Relay()}
        self.expected = {"scripted": "47 * 6 = 282. Done."}

    def question(self, kind: str) -> str:
        return {"scripted": "47 * 6?", "server": "Item 7", "bundled": QUESTION}[kind]

    async def answers(self, count: int, deadline: float) -> None:
        """Leave ``count`` answers, ``AT_A_TIME`` at a time, until the time is over."""
        kinds = self.random.choices(list(SHARES), list(SHARES.values()), k=count)

        async def worker() -> None:
            while kinds and time.monotonic() < deadline:
                kind = kinds.pop()
                async with asyncio.timeout(PATIENCE_S):
                    began = time.monotonic()
                    try:
                        await self.leave_one(kind)
                    except EngineError:  # expected if the engine was closed meanwhile
                        if self.closed_at.get(kind, 0) < began:
                            raise
                        self.ways[f"{kind}, ended by a close"] += 1

        async with asyncio.TaskGroup() as workers:
            for _ in range(AT_A_TIME):
                workers.create_task(worker())

    async def leave_one(self, kind: str) -> None:
        """Begin an answer and leave it in a random way."""
        relay, question = self.relays[kind], self.question(kind)
        way = self.random.choice(["whole", "cancel", "close", "deadline", "thread", "engine closed"])
        self.ways[f"{kind}, {way}"] += 1
        if way == "whole":
            await self.read(relay, question, kind)
        elif way == "cancel":
            task = asyncio.create_task(relay.agenerate(question))
            await asyncio.sleep(self.random.random() * 0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        elif way == "close":
            events_left = self.random.randrange(12)
            async with aclosing(relay.astream(question)) as events:
                async for _ in events:
                    events_left -= 1
                    if events_left < 0:
                        break
        elif way == "deadline":
            await relay.agenerate(question, deadline_s=0.001 + self.random.random() * 0.05)
        elif way == "thread":
            await asyncio.to_thread(drop_iterator, relay, question, self.random.randrange(12))
        else:
            task = asyncio.create_task(self.read(relay, question, kind))
            await asyncio.sleep(self.random.random() * 0.05)
            if self.random.random() < 0.1:  # loading the pair takes a second
                self.closed_at[kind] = math.inf
                await relay.student.aclose()
                self.closed_at[kind] = time.monotonic()
            await task

    async def read(self, relay: Relay, question: str, kind: str) -> None:
        """Read a whole answer, and see that it is right."""
        text = (await relay.agenerate(question)).text
        if text != self.expected.setdefault(kind, text):
            raise AssertionError(f"{kind}: {text!r} is not {self.expected[kind]!r}")


def drop_iterator(relay: Relay, question: str, events: int) -> None:
    """Read some events from a thread, and drop the iterator."""
    for _, event in zip(range(events), relay.stream(question), strict=False):
        if isinstance(event, Finished):
            return


@contextmanager
def scripted_server() -> Iterator[str]:
    """The scripted server, in a process of its own; yields its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(ROOT / "testing" / "scripted_server.py"), "--port", str(port), "--delay-s", "0.001"]
    server = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE_S
        while not is_up(f"{url}/health"):
            if time.monotonic() > deadline:
                raise TimeoutError("the scripted server does not start")
            time.sleep(0.1)
        yield f"{url}/v1"
    finally:
        server.terminate()
        server.wait()


def is_up(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def measured() -> dict[str, float]:
    """What would grow if something leaked."""
    gc.collect()
    process = psutil.Process()
    return {
        "MiB": process.memory_info().rss / 2**20,
        "files": process.num_fds(),
        "threads": threading.active_count(),
    }


def processes(run: Run) -> None:
    """A fork of the scripted relay, a fork of the loaded pair, and a spawned child."""
    scripted_in_fork(run.relays["scripted"], run.expected["scripted"])
    if getattr(run.relays["bundled"].student, "running", False):
        refused_in_fork(run.relays["bundled"])
    child = multiprocessing.get_context("spawn").Process(target=answer_in_child)
    child.start()
    child.join(PATIENCE_S)
    if child.exitcode != 0:
        child.kill()
        raise AssertionError(f"a spawned child ended with {child.exitcode}")


def soak(count: int, seconds: float, rounds: int, seed: int, report: Callable[[str], None]) -> dict[str, Any]:
    """Run, and return the counts.

    Args:
        count: how many answers are left.
        seconds: after this time no further answer begins.
        rounds: how many times children are forked and spawned; answers are left between them.
        seed: of the random choices.
        report: is told of each round.
    """
    run, began = Run(seed), time.monotonic()
    with scripted_server() as url:
        run.relays["server"] = Relay(f"openai:student@{url}", f"openai:teacher@{url}")
        with asyncio.Runner() as runner:
            for kind in run.relays:
                runner.run(run.read(run.relays[kind], run.question(kind), kind))
            runner.run(run.answers(min(count, 60), began + seconds))  # so that all has been loaded once
            before = measured()
            for i in range(rounds):
                runner.run(run.answers(max(0, count - 60) // rounds, began + seconds))
                processes(run)
                report(f"round {i + 1} of {rounds}: {sum(run.ways.values())} answers, {measured()}")
            after = measured()
            tasks = runner.run(tasks_left())
            for relay in run.relays.values():
                runner.run(relay.aclose())
    growth = {name: round(after[name] - before[name], 1) for name in before}
    if run.scripted.active or tasks:
        raise AssertionError(f"left open: {run.scripted.active} streams, {tasks} tasks")
    limits = {"MiB": MOST_GROWTH_MIB, "files": MOST_GROWTH_FILES, "threads": MOST_GROWTH_THREADS}
    if any(growth[name] > limit for name, limit in limits.items()):
        raise AssertionError(f"grew by {growth}, of which {limits} are allowed")
    return {"seconds": round(time.monotonic() - began, 1), "growth": growth, "answers": dict(sorted(run.ways.items()))}


async def tasks_left() -> int:
    await asyncio.sleep(1)
    return len(asyncio.all_tasks()) - 1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--answers", type=int, default=9000)
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    faulthandler.dump_traceback_later(options.seconds + 4 * PATIENCE_S, exit=True)
    results = soak(
        options.answers, options.seconds, options.rounds, options.seed, lambda line: print(line, file=sys.stderr)
    )
    print(json.dumps(results, indent=2))


if __name__ == "__main__":  # a spawned child imports this file
    main()
