"""The time that a plugin adds to the relay itself: the same prompts go to ``Relay`` and through the plugin, 64 at once.

    python benchmarks/plugins.py                    # the bundled pair, then scripted engines
    python benchmarks/plugins.py --requests 64 --rounds 5 --json

The first part runs real models in this process, which shows the time that a user waits. The overhead of an interface is
the median over rounds of (interface / relay - 1), for wall time and for this process's CPU time. If the machine does
other work, rely on the CPU time. All interfaces take turns in every round, each time in a different order, on the same
prompts. A first round, which is not counted, brings the prompts into the prefix cache for all interfaces.

The second part runs scripted engines, so that only the work of Python code is measured. It gives CPU microseconds per
token: the time that each interface takes in addition to the relay's own, and, as a floor, the time of the framework
with a model that only returns prepared texts. The difference between the two is the cost of the plugin.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.command_line import add_output_options, add_task_option, run_benchmark
from benchmarks.plugins_interfaces import Interface, all_interfaces, framework_interfaces
from relay_core import Relay, RelaySettings, ScriptedEngine, TextDelta
from relay_core.evaluate.task import task_from_spec

SUM = "Sam buys 3 pens at 62 coins each: 3 * 62 = "
SCRIPT = [SUM * 3 + "<call>3</call>", SUM * 3 + "<call>3</call>", SUM * 3 + "."]  # an answer of a usual length


@dataclass
class Timing:
    """Seconds of each round that counts."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


async def time_interfaces(
    interfaces: Mapping[str, Interface], prompts: Sequence[str], rounds: int
) -> dict[str, Timing]:
    """Time every interface ``rounds`` times, after one round that is not counted.

    Raises:
        RuntimeError: two interfaces wrote different amounts of text, so that their times cannot be compared.
    """
    timings = {name: Timing() for name in interfaces}
    order, names = random.Random(0), list(interfaces)
    for number in range(rounds + 1):
        answers = {}
        order.shuffle(names)  # so that what one leaves behind, such as garbage, meets another one each time
        for name in names:
            wall_began, cpu_began = time.perf_counter(), time.process_time()
            answers[name] = await interfaces[name](prompts)
            if number > 0:
                timings[name].wall_s.append(time.perf_counter() - wall_began)
                timings[name].cpu_s.append(time.process_time() - cpu_began)
        lengths = {name: sum(map(len, texts)) for name, texts in answers.items()}
        if max(lengths.values()) > 1.02 * min(lengths.values()):
            raise RuntimeError(f"the interfaces wrote different amounts: {lengths}")
    return timings


def overheads(timings: Mapping[str, Timing]) -> dict[str, dict[str, float]]:
    """For every interface but the relay: the time that it adds, as a share of the relay's."""
    relay = timings["relay"]
    return {
        name: {
            "wall": statistics.median(a / b for a, b in zip(timing.wall_s, relay.wall_s, strict=True)) - 1,
            "cpu": statistics.median(a / b for a, b in zip(timing.cpu_s, relay.cpu_s, strict=True)) - 1,
        }
        for name, timing in timings.items()
        if name != "relay"
    }


async def measure_on_models(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds and overheads on real models."""
    problems = task_from_spec(options.task).problems("dev", options.requests)
    prompts = [problem.messages[-1]["content"] for problem in problems]
    async with Relay(options.student, options.teacher, RelaySettings(max_tokens=options.max_tokens)) as relay:
        interfaces = all_interfaces(relay)  # imports the plugins before models are loaded, as users do
        await relay.start()
        timings = await time_interfaces(interfaces, prompts, options.rounds)
    seconds = {name: statistics.median(timing.wall_s) for name, timing in timings.items()}
    return {"seconds": seconds, "overhead": overheads(timings)}


async def measure_on_scripts(options: argparse.Namespace) -> dict[str, Any]:
    """CPU microseconds per token on scripted engines.

    ``tokens`` are those of an answer; ``relay`` is the relay's time. For each other interface, ``more`` is what it
    takes beyond that, and ``floor`` what the framework alone takes.
    """
    relay = Relay(ScriptedEngine(SCRIPT), ScriptedEngine("186"), RelaySettings(on_teacher_stop="continue"))
    texts = [event.text async for event in relay.astream("?") if isinstance(event, TextDelta)]
    floors = framework_interfaces(texts)
    interfaces = {**all_interfaces(relay), **{f"{name}, floor": interface for name, interface in floors.items()}}
    timings = await time_interfaces(interfaces, ["?"] * options.requests, options.rounds)
    tokens = options.requests * len(texts)
    cpu_us = {name: 1e6 * statistics.median(timing.cpu_s) / tokens for name, timing in timings.items()}
    more = {name: {"more": cpu_us[name] - cpu_us["relay"], "floor": cpu_us[f"{name}, floor"]} for name in floors}
    return {"tokens": len(texts), "relay": cpu_us["relay"], **more}


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The result of both parts."""
    return {
        "requests": options.requests,
        "rounds": options.rounds,
        **await measure_on_models(options),
        "us_per_token": await measure_on_scripts(options),
    }


def show(result: dict[str, Any]) -> None:
    """Print the result as lines."""
    print(f"{result['requests']} requests at once, {result['rounds']} rounds: relay {result['seconds']['relay']:.2f} s")
    for name, share in result["overhead"].items():
        print(f"{name:22} {share['wall']:+.1%} wall, {share['cpu']:+.1%} CPU")
    us_per_token = dict(result["us_per_token"])
    tokens, relay_us = us_per_token.pop("tokens"), us_per_token.pop("relay")
    print(f"scripted, {tokens} tokens an answer, CPU us a token: relay {relay_us:.1f}")
    for name, cost in us_per_token.items():
        print(f"{name:22} {cost['more']:+.1f}, of which the framework's floor {cost['floor']:.1f}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="bundled", help="engine spec of the student")
    parser.add_argument("--teacher", default="bundled", help="engine spec of the teacher")
    add_task_option(parser)
    parser.add_argument("--requests", type=int, default=64, help="concurrent requests")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, after one that does not")
    parser.add_argument("--max-tokens", type=int, default=200, help="tokens of an answer at most")
    add_output_options(parser)
    options = parser.parse_args(arguments)
    return run_benchmark(options, lambda: asyncio.run(measure(options)), show)


if __name__ == "__main__":
    raise SystemExit(main())
