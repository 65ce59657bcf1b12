"""Hundreds of relays at once through one process, for thousands of requests: are all right, and does memory stay flat?

    python benchmarks/streams.py --plot docs/images/streams.png       # 500 at once, 10,000 requests
    python benchmarks/streams.py --server vllm --requests 2000        # the bundled pair in two real vLLM servers

One relay and two ``OpenAIEngine``s answer all requests, each streamed. Behind them, in processes of their own, are

    scripted    the scripted engine behind a real HTTP server that speaks as vLLM's does: every answer holds two calls
                and is known beforehand, word for word
    vllm        vLLM with the bundled pair: real models, on the bundled task; the answers must be those that the same
                servers gave before, to one request at a time

An answer is right if it is that text, no call in it failed and it ended by itself. Meanwhile, twice a second: this
process's resident memory, its open file descriptors (nearly all sockets) and the tasks on its event loop. Memory
is called flat if a straight line through its second half (when all that is cached is cached) rises by less than 5%
of its size per 10,000 requests. Its CPU time says how many tokens one relay process can pass on in a second.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, aclosing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from relay_core import Finished, FinishReason, OpenAIEngine, Relay, RelayError, RelaySettings, TextDelta, bundled
from testing.scripted_server import answer
from testing.servers import scripted_server, vllm_server

ROLES = ("student", "teacher")
FLAT = 0.05  # of its size, per 10,000 requests
EVERY_S = 0.5


class Sample(NamedTuple):
    """What was seen after so many requests."""

    done: int
    memory_mb: float
    descriptors: int
    tasks: int


@dataclass
class Streams:
    """What came of all requests."""

    right: int = 0
    calls: int = 0
    tokens: int = 0
    wrong: list[str] = field(default_factory=list)  # why, for each that is not right
    first_s: list[float] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    @property
    def done(self) -> int:
        return self.right + len(self.wrong)

    def look(self) -> None:
        """Take a sample."""
        process = psutil.Process()
        memory = process.memory_info().rss / 1e6
        self.samples.append(Sample(self.done, memory, process.num_fds(), len(asyncio.all_tasks())))

    @property
    def growth(self) -> float | None:
        """How memory rises over the second half, as a share of its size, per 10,000 requests."""
        later = [s for s in self.samples if s.done >= self.samples[-1].done / 2]
        if len({s.done for s in later}) < 2:
            return None
        line = statistics.linear_regression([s.done for s in later], [s.memory_mb for s in later])
        return line.slope * 10_000 / statistics.fmean(s.memory_mb for s in later)


@contextmanager
def served(kind: str, logs: Path) -> Iterator[list[str]]:
    """Servers of that kind; the student's and the teacher's URL."""
    with ExitStack() as stack:
        if kind == "scripted":
            yield [stack.enter_context(scripted_server(logs / "log", delay_s=0.02))] * 2
            return
        options = ["--block-size", "32", "--max-num-seqs", "256"]
        yield [
            stack.enter_context(
                vllm_server(bundled.path(model), logs / model, name=role, context=2048, options=options)
            )
            for role, model in zip(ROLES, ("student-relay", "teacher"), strict=True)
        ]


async def expected(kind: str, relay: Relay, n: int) -> list[tuple[Any, str]]:
    """Prompts and the answers that they must get."""
    if kind == "scripted":
        return [(f"Tell me of Item {i}.", answer(i)) for i in range(n)]
    from relay_core.bundled import task

    prompts = [list(problem.messages) for problem in task.demo_problems(min(n, 60), seed=0)]
    return [(prompt, (await relay.agenerate(prompt)).text) for prompt in prompts]


async def one(relay: Relay, prompt: Any, text: str, streams: Streams) -> None:
    """Stream one answer and judge it."""
    began, first, seen = time.perf_counter(), None, ""
    try:
        async with aclosing(relay.astream(prompt)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    first = first or time.perf_counter() - began
                    seen += event.text
                elif isinstance(event, Finished):
                    result = event.result
    except RelayError as error:
        streams.wrong.append(f"{type(error).__name__}: {error}")
        return
    streams.calls += result.usage.calls
    streams.tokens += result.usage.completion_tokens
    streams.first_s += [] if first is None else [first]
    if result.failures:
        streams.wrong.append(f"a call failed: {result.failures[0]}")
    elif result.finish_reason is not FinishReason.STOP:
        streams.wrong.append(f"it ended with {result.finish_reason}")
    elif not seen == result.text == text:
        streams.wrong.append(f"{result.text!r} is not {text!r}")
    else:
        streams.right += 1


async def flow(relay: Relay, wanted: Sequence[tuple[Any, str]], requests: int, at_once: int) -> Streams:
    """All requests, so many at once."""
    streams, numbers = Streams(), iter(range(requests))

    async def worker() -> None:
        for i in numbers:
            await one(relay, *wanted[i % len(wanted)], streams)

    async def watch() -> None:
        while True:
            streams.look()
            await asyncio.sleep(EVERY_S)

    streams.look()
    watching = asyncio.ensure_future(watch())
    try:
        await asyncio.gather(*(worker() for _ in range(at_once)))
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    streams.look()
    return streams


async def measured(kind: str, urls: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """The JSON."""
    engines = [
        OpenAIEngine(role, f"{url}/v1", tokenizer=str(bundled.path("teacher")), max_in_flight=options.at_once)
        for role, url in zip(ROLES, urls, strict=True)
    ]
    relay = Relay(*engines, RelaySettings(max_tokens=256, on_teacher_stop="continue"))
    began_with = (psutil.Process().num_fds(), len(asyncio.all_tasks()))
    try:
        await relay.start()
        wanted = await expected(kind, relay, options.requests)
        began, spent = time.perf_counter(), time.process_time()
        streams = await flow(relay, wanted, options.requests, options.at_once)
        seconds, spent = time.perf_counter() - began, time.process_time() - spent
    finally:
        for engine in engines:
            await engine.aclose()
    gc.collect()
    await asyncio.sleep(0)
    return {
        "server": kind,
        "at_once": options.at_once,
        "requests": options.requests,
        "right": streams.right,
        "wrong": streams.wrong[:10],
        "calls": streams.calls,
        "seconds": round(seconds, 1),
        "requests_per_s": round(options.requests / seconds, 1),
        "tokens": streams.tokens,
        "cpu_s": round(spent, 1),
        "tokens_per_cpu_s": round(streams.tokens / spent),
        "first_text_s": round(statistics.median(streams.first_s), 3) if streams.first_s else None,
        "memory_mb": {"first": streams.samples[0].memory_mb, "last": streams.samples[-1].memory_mb},
        "growth_per_10000": streams.growth,
        "flat": streams.growth is not None and streams.growth < FLAT,
        "descriptors": {"before": began_with[0], "after": psutil.Process().num_fds()},
        "tasks": {"before": began_with[1], "after": len(asyncio.all_tasks())},
        "samples": [sample._asdict() for sample in streams.samples],
    }


def draw(result: dict[str, Any], path: Path) -> None:
    """Memory, descriptors and tasks over the requests, as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    done = [sample["done"] for sample in result["samples"]]
    top.plot(done, [sample["memory_mb"] for sample in result["samples"]], color="black")
    top.set(ylabel="resident memory, MB", ylim=(0, None))
    top.set_title(
        f"{result['at_once']} streams at once, {result['server']} servers: {result['right']:,} of "
        f"{result['requests']:,} answers right, {result['calls']:,} calls"
    )
    bottom.plot(done, [sample["descriptors"] for sample in result["samples"]], label="open descriptors")
    bottom.plot(done, [sample["tasks"] for sample in result["samples"]], label="tasks")
    bottom.set(xlabel="requests answered", ylim=(0, None))
    bottom.legend()
    figure.savefig(path, dpi=110)


def show(result: dict[str, Any]) -> None:
    """The figures as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, title=f"{result['at_once']} streams at once, {result['server']} servers")
    growth = result["growth_per_10000"]
    memory, left = result["memory_mb"], {name: result[name] for name in ("descriptors", "tasks")}
    table.add_row("right", f"{result['right']:,} of {result['requests']:,}")
    table.add_row("calls", f"{result['calls']:,}")
    table.add_row("requests/s", f"{result['requests_per_s']:,} ({result['seconds']:.0f} s)")
    table.add_row("tokens per CPU second", f"{result['tokens_per_cpu_s']:,} (of this process; {result['cpu_s']:.0f} s)")
    table.add_row("memory", f"{memory['first']:.0f} MB at first, {memory['last']:.0f} MB at last")
    table.add_row("its rise per 10,000", "unknown: too few samples" if growth is None else f"{growth:+.1%}")
    for name, counts in left.items():
        table.add_row(f"{name} before, after", f"{counts['before']}, {counts['after']}")
    for why in result["wrong"]:
        table.add_row("wrong", why[:200])
    Console().print(table)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=("scripted", "vllm"), default="scripted")
    parser.add_argument("--at-once", type=int, default=500)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument(
        "--urls", nargs=2, metavar=("STUDENT", "TEACHER"), help="of servers that run already; none is started"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="streams-") as logs,
        nullcontext(options.urls) if options.urls else served(options.server, Path(logs)) as urls,
    ):
        try:
            result = asyncio.run(measured(options.server, urls, options))
        except RelayError as error:
            print(error, file=sys.stderr)
            return 2
    if options.plot:
        draw(result, options.plot)
    if options.json:
        print(json.dumps(result))
    else:
        show(result)
    return 0 if result["right"] == options.requests else 1


if __name__ == "__main__":
    raise SystemExit(main())
