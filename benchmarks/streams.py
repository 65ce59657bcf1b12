"""Hundreds of relays at once through one process, for thousands of requests: are all right, and does memory stay flat?

    python benchmarks/streams.py --plot docs/images/streams.png       # 500 at once, 10,000 requests
    python benchmarks/streams.py --server vllm --requests 2000        # the bundled pair in two real vLLM servers

One relay with two ``OpenAIEngine``s streams all answers. The servers run in processes of their own:

    scripted    the scripted engine behind a real HTTP server that speaks as vLLM's does; every answer holds two calls
                and is known beforehand, word for word
    vllm        vLLM with the bundled pair, on the problems of a task; the expected answers are those that the same
                servers gave to one request at a time before

An answer is right if it is the expected text, if no call in it failed and if it ended by itself. Twice a second, the
script samples this process's resident memory, its open file descriptors (nearly all sockets) and the tasks on its event
loop. Memory is called flat if a straight line through its second half (when every cache is full) rises by less than 5%
of the memory's size per 10,000 requests. The CPU time of this process gives the tokens that one relay process can pass
on in a second.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, aclosing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.command_line import add_output_options, add_task_option, run_benchmark
from benchmarks.streams_figures import Streams
from benchmarks.streams_report import draw, show
from relay_core import Finished, FinishReason, OpenAIEngine, Relay, RelayError, RelaySettings, TextDelta, bundled
from relay_core.evaluate.task import task_from_spec
from testing.scripted_server import answer
from testing.servers import scripted_server, vllm_server

ROLES = ("student", "teacher")
FLAT_GROWTH = 0.05  # of the memory's size, per 10,000 requests
SAMPLE_INTERVAL_S = 0.5
VLLM_PROMPTS = 60  # different prompts at most; each is answered alone first


class Expected(NamedTuple):
    """A prompt and the right answer to it."""

    prompt: Any
    text: str


@contextmanager
def start_servers(kind: str, logs: Path) -> Iterator[list[str]]:
    """Servers of that kind; yields the student's and the teacher's URL."""
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


async def expected_answers(relay: Relay, options: argparse.Namespace) -> list[Expected]:
    """The prompts and their right answers."""
    if options.server == "scripted":
        return [Expected(f"Tell me of Item {i}.", answer(i)) for i in range(options.requests)]
    problems = task_from_spec(options.task).problems("test", min(options.requests, VLLM_PROMPTS))
    prompts = [list(problem.messages) for problem in problems]
    return [Expected(prompt, (await relay.agenerate(prompt)).text) for prompt in prompts]


async def stream_one(relay: Relay, expected: Expected, streams: Streams) -> None:
    """Stream one answer and judge it."""
    began, first_s, text = time.perf_counter(), None, ""
    try:
        async with aclosing(relay.astream(expected.prompt)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    first_s = first_s or time.perf_counter() - began
                    text += event.text
                elif isinstance(event, Finished):
                    result = event.result
    except RelayError as error:
        streams.wrong.append(f"{type(error).__name__}: {error}")
        return
    streams.calls += result.usage.calls
    streams.tokens += result.usage.completion_tokens
    streams.first_s += [] if first_s is None else [first_s]
    if result.failures:
        streams.wrong.append(f"a call failed: {result.failures[0]}")
    elif result.finish_reason is not FinishReason.STOP:
        streams.wrong.append(f"it ended with {result.finish_reason}")
    elif not text == result.text == expected.text:
        streams.wrong.append(f"{result.text!r} is not {expected.text!r}")
    else:
        streams.right += 1


async def stream_all(relay: Relay, expected: Sequence[Expected], requests: int, at_once: int) -> Streams:
    """Stream so many requests, ``at_once`` at a time, and sample this process meanwhile."""
    streams, numbers = Streams(), iter(range(requests))

    async def worker() -> None:
        for number in numbers:
            await stream_one(relay, expected[number % len(expected)], streams)

    async def take_samples() -> None:
        while True:
            streams.take_sample()
            await asyncio.sleep(SAMPLE_INTERVAL_S)

    streams.take_sample()
    sampler = asyncio.ensure_future(take_samples())
    try:
        # Not map_concurrently, which makes one task a request: memory and tasks are what is measured here.
        await asyncio.gather(*(worker() for _ in range(at_once)))
    finally:
        sampler.cancel()
        await asyncio.gather(sampler, return_exceptions=True)
    streams.take_sample()
    return streams


async def measure(urls: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """The result, from servers that run at these URLs."""
    student, teacher = engines = [
        OpenAIEngine(role, f"{url}/v1", tokenizer=str(bundled.path("teacher")), max_in_flight=options.at_once)
        for role, url in zip(ROLES, urls, strict=True)
    ]
    relay = Relay(student, teacher, RelaySettings(max_tokens=256, on_teacher_stop="continue"))
    descriptors_before, tasks_before = psutil.Process().num_fds(), len(asyncio.all_tasks())
    try:
        await relay.start()
        expected = await expected_answers(relay, options)
        began, cpu_began = time.perf_counter(), time.process_time()
        streams = await stream_all(relay, expected, options.requests, options.at_once)
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    finally:
        for engine in engines:
            await engine.aclose()
    gc.collect()
    await asyncio.sleep(0)
    growth = streams.growth
    return {
        "server": options.server,
        "at_once": options.at_once,
        "requests": options.requests,
        "right": streams.right,
        "wrong": streams.wrong[:10],
        "calls": streams.calls,
        "seconds": round(seconds, 1),
        "requests_per_s": round(options.requests / seconds, 1),
        "tokens": streams.tokens,
        "cpu_s": round(cpu_s, 1),
        "tokens_per_cpu_s": round(streams.tokens / cpu_s),
        "first_text_s": round(statistics.median(streams.first_s), 3) if streams.first_s else None,
        "memory_mb": {"first": streams.samples[0].memory_mb, "last": streams.samples[-1].memory_mb},
        "growth_per_10000": growth,
        "flat": growth is not None and growth < FLAT_GROWTH,
        "descriptors": {"before": descriptors_before, "after": psutil.Process().num_fds()},
        "tasks": {"before": tasks_before, "after": len(asyncio.all_tasks())},
        "samples": [sample._asdict() for sample in streams.samples],
    }


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=("scripted", "vllm"), default="scripted")
    add_task_option(parser)
    parser.add_argument("--at-once", type=int, default=500, help="concurrent requests")
    parser.add_argument("--requests", type=int, default=10_000, help="requests in all")
    parser.add_argument(
        "--urls", nargs=2, metavar=("STUDENT", "TEACHER"), help="of servers that run already; none is started"
    )
    add_output_options(parser, plot=True)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status, which is 1 if an answer is not right."""
    options = parse_arguments(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="streams-") as logs,
        nullcontext(options.urls) if options.urls else start_servers(options.server, Path(logs)) as urls,
    ):
        return run_benchmark(
            options,
            lambda: asyncio.run(measure(urls, options)),
            show,
            draw=draw,
            passed=lambda result: bool(result["right"] == options.requests),
        )


if __name__ == "__main__":
    raise SystemExit(main())
