"""The relay over real vLLM servers, against each model alone and against rounds of blocking batch calls.

    python benchmarks/serving.py                                     # everything; half an hour on two cores
    python benchmarks/serving.py --pair bundled --requests 64 --methods relay,lockstep --delay-ms 0,50
    python benchmarks/serving.py --pair random --requests 1 --json --plot serving.png

Two vLLM servers run on this machine, one thread each. They serve the student and the teacher of the bundled pair, on
its own problems; or a pair of Qwen3's architecture with random weights (30 M and 119 M parameters, ``random_pair.py``)
and scheduled calls. The random pair's answers are as mixed in length as solutions of real problems: the logarithm of
the length in Qwen3's tokens has a standard deviation of 0.76 on MATH-500 and 0.88 on OlympiadBench.

All methods get the same prompts and decode greedily. Their rounds take turns, with both servers' prefix caches emptied
in between. The streaming methods begin the next answer when one ends; lock-step takes the answers batch by batch, as
published. With ``--answers 64 --requests 64``, all methods have a single batch.

    student, teacher    the model alone, streamed
    relay, warming      the relay, its setting ``warming`` off or on
    lockstep            rounds of blocking batch calls, text passed on (``lockstep.py``)

``--delay-ms`` puts the tests' proxy in front of the teacher; it delays every request by so much.

    tokens/s          tokens of all answers / seconds until the last answer was complete
    first token       seconds until a reader sees something
    hand-over         from the command's end to the student's next token, less the time of the teacher's tokens;
                      in lock-step: until the loop asks the student again
    in steps          the mean hand-over in steps of the student, less the one step that the student's token takes
    ratio to ideal    (student tokens / student-alone rate + teacher tokens / teacher-alone rate) / the relay's time

A step is the median time between two tokens of one answer, with as many concurrent requests.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.command_line import add_output_options, add_task_option, run_benchmark
from benchmarks.serving_figures import MethodRun, figures
from benchmarks.serving_methods import METHODS, Method, open_methods
from benchmarks.serving_pairs import Pair, Question, build_random_pair, bundled_pair
from benchmarks.serving_report import draw, show
from benchmarks.serving_servers import Servers, start_servers
from relay_core.evaluate.task import task_from_spec


async def measure_rounds(
    pair: Pair, servers: Servers, methods: dict[str, Method], at_once: int, options: argparse.Namespace
) -> dict[str, MethodRun]:
    """Run all methods in turns with ``at_once`` concurrent requests; returns the runs by the methods' names."""
    warm_up = [Question(question.messages, 24) for question in pair.draw_questions(min(4, at_once), 10**6 + at_once)]
    for method in methods.values():  # opens connections and compiles chat templates
        await method(warm_up, at_once)
    runs = {name: MethodRun() for name in methods}
    names = list(methods)
    answers = options.answers or max(4 * at_once, 8)
    for number in range(options.rounds):
        questions = pair.draw_questions(answers, options.seed + 1000 * at_once + number)
        first = number % len(names)
        for name in names[first:] + names[:first]:
            await servers.empty_prefix_caches()
            run, began = runs[name], time.perf_counter()
            run.answers += await methods[name](questions, at_once)
            run.seconds += time.perf_counter() - began
            print(f"{at_once} at once, round {number + 1}, {name}: {run.rate:.0f} tokens/s", file=sys.stderr)
    return runs


async def measure_pair(pair: Pair, servers: Servers, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one pair, by the number of concurrent requests and the method."""
    by_requests: dict[str, Any] = {}
    async with open_methods(pair, servers, options.methods) as methods:
        for at_once in options.requests:
            runs = await measure_rounds(pair, servers, methods, at_once, options)
            by_requests[str(at_once)] = {name: figures(runs, name) for name in runs}
    return by_requests


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Start the servers of each pair, measure, and stop them; the result."""
    result: dict[str, Any] = {
        "rounds": options.rounds,
        "delay_ms": options.delay_ms,
        "serve": options.serve,
        "pairs": {},
    }
    for name in options.pair:
        with tempfile.TemporaryDirectory(prefix="serving-") as temporary:
            folder = Path(temporary)
            pair = make_pair(name, folder, options)
            with start_servers(
                pair, folder / "logs", delays_ms=options.delay_ms, options=options.serve, urls=options.urls
            ) as servers:
                result["pairs"][name] = asyncio.run(measure_pair(pair, servers, options))
    return result


def make_pair(name: str, folder: Path, options: argparse.Namespace) -> Pair:
    """The pair of that name; a random one is written into ``folder``."""
    if name == "bundled":
        return bundled_pair(task_from_spec(options.task), options.max_tokens)
    return build_random_pair(
        folder,
        prompt_tokens=options.prompt_tokens,
        answer_tokens=options.answer_tokens,
        answer_spread=options.answer_spread,
        every=options.every,
        call_tokens=options.call_tokens,
    )


# -- the command line --------------------------------------------------------------------------------------------------


def names_among(*choices: str) -> Callable[[str], list[str]]:
    """A parser of ``a,b,c``, each of which must be one of ``choices``."""

    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",")]
        if unknown := [name for name in names if name not in choices]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: write some of {','.join(choices)}")
        return names

    return parse


def whole_numbers(text: str) -> list[int]:
    """Parse ``1,16,64``."""
    try:
        return [int(item) for item in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: write whole numbers, such as 1,16,64") from None


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--pair", type=names_among("bundled", "random"), default=["bundled", "random"], help="bundled,random")
    add("--requests", type=whole_numbers, default=[1, 16, 64], help="concurrent requests, such as 1,16,64")
    add("--methods", type=names_among(*METHODS), default=list(METHODS), help=",".join(METHODS))
    add("--delay-ms", type=whole_numbers, default=[0], help="delays of the teacher, such as 0,50; one run of each")
    add("--rounds", type=int, default=2)
    add("--answers", type=int, default=0, help="answers of a round; 0: four times --requests, but at least 8")
    add("--serve", action="append", default=[], metavar="FLAG", help="for both servers: --serve=--stream-interval=4")
    add("--urls", nargs=2, metavar=("STUDENT", "TEACHER"), help="of vLLM servers of the pair that run already, with "
        "VLLM_SERVER_DEV_MODE=1; none is started")  # fmt: skip
    add("--seed", type=int, default=0, help="seed of the questions")
    bundled_group = parser.add_argument_group("the bundled pair")
    add_task_option(bundled_group)
    bundled_group.add_argument("--max-tokens", type=int, default=256, help="tokens of an answer at most")
    random_group = parser.add_argument_group("the random pair", "lengths are between 0.5 and 1.5 times the mean")
    add = random_group.add_argument
    add("--prompt-tokens", type=int, default=192, help="tokens of a prompt, mean")
    add("--every", type=int, default=32, help="student tokens before a call, mean")
    add("--call-tokens", type=int, default=6, help="teacher tokens of a call, mean")
    add("--answer-tokens", type=int, default=64, help="tokens of an answer, median")
    add("--answer-spread", type=float, default=0.8, help="standard deviation of the logarithm of the answers' lengths")
    add_output_options(parser, plot=True)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    options = parse_arguments(arguments)
    return run_benchmark(options, lambda: measure(options), show, draw=draw)


if __name__ == "__main__":
    raise SystemExit(main())
