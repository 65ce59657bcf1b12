"""What a plugin adds to the relay itself: the same prompts, asked of `Relay` and through the plugin, 64 at once.

    python benchmarks/plugins.py                    # the bundled pair
    python benchmarks/plugins.py --requests 64 --rounds 5 --json

Rounds of both take turns, in an order that alternates, so that a change in the machine's speed meets all alike; each
round has problems of its own, the same for all ways. Overhead is the median over rounds of (way / relay - 1), for wall
time and for this process's CPU time; where other work shares the machine, the second is the one to trust.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from relay_core import Relay, RelaySettings

Way = Callable[[Sequence[str]], Awaitable[Sequence[str]]]


@dataclass
class Timing:
    """Seconds of each round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def langchain_ways(relay: Relay) -> dict[str, Way]:
    from langchain_relay import ChatRelay

    chat = ChatRelay(relay=relay)

    async def invoke(prompts: Sequence[str]) -> list[str]:
        return [message.text for message in await chat.abatch(list(prompts))]

    async def one_stream(prompt: str) -> str:
        return "".join([chunk.text async for chunk in chat.astream(prompt)])

    async def stream(prompts: Sequence[str]) -> list[str]:
        return await asyncio.gather(*map(one_stream, prompts))

    return {"langchain abatch": invoke, "langchain astream": stream}


def llamaindex_ways(relay: Relay) -> dict[str, Way]:
    from llamaindex_relay import RelayLLM

    llm = RelayLLM(relay=relay)

    async def one(prompt: str) -> str:
        return (await llm.acomplete(prompt)).text

    async def whole(prompts: Sequence[str]) -> list[str]:
        return await asyncio.gather(*map(one, prompts))

    async def one_stream(prompt: str) -> str:
        return "".join([response.delta or "" async for response in await llm.astream_complete(prompt)])

    async def stream(prompts: Sequence[str]) -> list[str]:
        return await asyncio.gather(*map(one_stream, prompts))

    return {"llamaindex acomplete": whole, "llamaindex astream": stream}


def relay_ways(relay: Relay) -> dict[str, Way]:
    async def one(prompt: str) -> str:
        return (await relay.agenerate(prompt)).text

    async def whole(prompts: Sequence[str]) -> list[str]:
        return await asyncio.gather(*map(one, prompts))

    return {"relay": whole}


async def measure(ways: dict[str, Way], rounds: Sequence[Sequence[str]]) -> dict[str, Timing]:
    """Time every way on every round; the first round is not counted.

    Raises:
        RuntimeError: two ways answered differently, so that their times compare nothing.
    """
    timings = {name: Timing() for name in ways}
    for i, prompts in enumerate(rounds):
        answers = {}
        for name in list(ways) if i % 2 else reversed(list(ways)):
            wall, cpu = time.perf_counter(), time.process_time()
            answers[name] = await ways[name](prompts)
            if i:
                timings[name].wall.append(time.perf_counter() - wall)
                timings[name].cpu.append(time.process_time() - cpu)
        lengths = {name: sum(map(len, texts)) for name, texts in answers.items()}
        if max(lengths.values()) > 1.02 * min(lengths.values()):
            raise RuntimeError(f"the ways wrote different amounts: {lengths}")
    return timings


def overheads(timings: dict[str, Timing]) -> dict[str, dict[str, float]]:
    """For every way but the relay: what it adds, as a share of the relay's own time."""
    base = timings["relay"]
    return {
        name: {
            "wall": statistics.median(a / b for a, b in zip(t.wall, base.wall, strict=True)) - 1,
            "cpu": statistics.median(a / b for a, b in zip(t.cpu, base.cpu, strict=True)) - 1,
        }
        for name, t in timings.items()
        if name != "relay"
    }


async def run(args: argparse.Namespace) -> dict[str, Any]:
    from relay_core.bundled import task

    problems = task.problems(args.requests * (args.rounds + 1), split="dev")
    prompts = [p.messages[-1]["content"] for p in problems]
    rounds = [prompts[i * args.requests : (i + 1) * args.requests] for i in range(args.rounds + 1)]
    async with Relay(args.student, args.teacher, RelaySettings(max_tokens=args.max_tokens)) as relay:
        await relay.start()
        ways = {**relay_ways(relay), **langchain_ways(relay), **llamaindex_ways(relay)}
        timings = await measure(ways, rounds)
    seconds = {name: statistics.median(t.wall) for name, t in timings.items()}
    return {"requests": args.requests, "rounds": args.rounds, "seconds": seconds, "overhead": overheads(timings)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="bundled")
    parser.add_argument("--teacher", default="bundled")
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    report = asyncio.run(run(args))
    if args.json:
        print(json.dumps(report))
        return
    print(f"{report['requests']} requests at once, {report['rounds']} rounds: relay {report['seconds']['relay']:.2f} s")
    for name, share in report["overhead"].items():
        print(f"{name:22} {share['wall']:+.1%} wall, {share['cpu']:+.1%} CPU")


if __name__ == "__main__":
    main()
