"""What the relay costs: its tokens per second against the ideal, and one hand-over in steps of the student.

    python benchmarks/decode.py                       # the bundled pair on its own problems
    python benchmarks/decode.py --every 100           # the same pair with a call dictated every 100 tokens
    python benchmarks/decode.py --student PATH --teacher PATH --every 100 --json
    python benchmarks/decode.py --student vllm:PATH --teacher vllm:PATH --vllm-args '{"enforce_eager": true}'
    python benchmarks/decode.py --trigger uncertain:1e-9,8   # what a trigger costs that never opens a call
    taskset -c 1 python benchmarks/decode.py --student vllm:PATH --teacher vllm:PATH --student-cpus 0 --teacher-cpus 1

The ideal is the time that each model, running alone, would take for its part of the relay's answers, summed over both
models. The rates are those that the models reach alone in the same engine, in the same run and with the same number of
concurrent requests:

    ideal = student tokens / student-alone rate + teacher tokens / teacher-alone rate
    ratio = ideal / relay's time

Each hand-over is also timed: from the command's last token to the student's next token, minus the time that the
teacher's tokens and this student token take at those rates. The result is given in student steps: one step is the time
of one student token at the same number of concurrent requests.

Rounds of relay, student alone and teacher alone take turns, so that a change in the machine's speed affects all three.
Each turn uses new problems, so that the prefix cache does not contain its prompts. Accuracy is not measured here (see
``relay demo``).
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from typing import Any

from benchmarks.command_line import add_output_options, add_task_option, run_benchmark
from benchmarks.decode_rounds import FreshPrompts, measure_rounds
from benchmarks.scheduled_calls import DictatedCalls
from benchmarks.trigger_cost import trigger_cost
from relay_core import Relay, RelaySettings, engine_from_spec
from relay_core.engines.base import Engine
from relay_core.engines.spec import EngineSpec, Scheme
from relay_core.evaluate.task import task_from_spec
from relay_core.keys import Role


def build_engine(spec: str, role: Role, vllm_args: dict[str, Any]) -> Engine:
    """The engine of a spec; ``vllm_args`` go to an engine in vLLM, as arguments of its ``AsyncEngineArgs``."""
    parsed = EngineSpec.parse(spec)
    return engine_from_spec(parsed, role=role, **(vllm_args if parsed.scheme is Scheme.VLLM else {}))


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The result: figures for every number of concurrent requests."""
    student = build_engine(options.student, "student", {**options.vllm_args, "cpus": options.student_cpus})
    teacher = build_engine(options.teacher, "teacher", {**options.vllm_args, "cpus": options.teacher_cpus})
    relay_student = DictatedCalls(student, options.every, options.call_tokens) if options.every else student
    settings = RelaySettings(max_tokens=options.max_tokens, on_teacher_stop="continue", warming=options.warming)
    relay = Relay(relay_student, teacher, settings)
    prompts = FreshPrompts(task_from_spec(options.task), options.seed)
    result: dict[str, Any] = {
        "student": student.spec,
        "teacher": teacher.spec,
        "every": options.every,
        "trigger": options.trigger,
        "requests": {},
    }
    try:
        await relay.start()
        for at_once in options.requests:
            answers = options.answers or max(12, 2 * at_once)
            if options.trigger:
                result["requests"][str(at_once)] = await trigger_cost(
                    student, teacher, options.trigger, settings, prompts,
                    at_once=at_once, answers=answers, rounds=options.rounds,
                )  # fmt: skip
                continue
            figures = await measure_rounds(
                relay, student, teacher, prompts, at_once=at_once, answers=answers, rounds=options.rounds
            )
            result["requests"][str(at_once)] = figures.as_dict()
    finally:
        await student.aclose()
        await teacher.aclose()
    return result


def show(result: dict[str, Any]) -> None:
    """Print the result as a table."""
    from rich.console import Console
    from rich.table import Table

    if result["trigger"]:
        for requests, figures in result["requests"].items():
            print(
                f"{requests} requests: {figures['tokens_per_s']:,.0f} tokens/s with {result['trigger']}, "
                f"{figures['never_tokens_per_s']:,.0f} with never: {figures['ratio']:.3f} ({figures['calls']} calls)"
            )
        return
    schedule = f"a call every {result['every']} student tokens" if result["every"] else "its own calls"
    table = Table(title=f"{result['student']} and {result['teacher']}, {schedule}")
    columns = ("requests", "ratio to ideal", "hand-over, steps", "tokens/s", "student alone", "teacher alone", "calls")
    for column in columns:
        table.add_column(column, justify="right")
    for requests, figures in result["requests"].items():
        ratios = figures["ratios_of_rounds"]
        ratio = f"{figures['ratio_to_ideal']:.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        steps = "-" if figures["handover_steps"] is None else f"{figures['handover_steps']:.1f}"
        rates = [f"{figures[name]:,.0f}" for name in ("tokens_per_s", "student_tokens_per_s", "teacher_tokens_per_s")]
        table.add_row(requests, ratio, steps, *rates, str(figures["calls"]))
    Console().print(table)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="The relay's speed against the ideal.")
    add = parser.add_argument
    add("--student", default="bundled", help="engine spec of the student")
    add("--teacher", default="bundled", help="engine spec of the teacher")
    add("--vllm-args", type=json.loads, default={}, metavar="JSON", help="arguments of engines in vLLM")
    add("--student-cpus", type=int, nargs="+", metavar="CPU", help="processors of the student, if it is in vLLM")
    add("--teacher-cpus", type=int, nargs="+", metavar="CPU", help="processors of the teacher, if it is in vLLM")
    add_task_option(parser)
    add("--requests", type=int, nargs="+", default=[1, 64], help="concurrent requests")
    add("--answers", type=int, default=0, help="answers of a round; 0: twice --requests, but at least 12")
    add("--rounds", type=int, default=3, help="rounds that count, after one to warm up")
    add("--max-tokens", type=int, default=256, help="tokens of an answer at most")
    add("--every", type=int, default=0, help="dictate a call after so many student tokens; 0: the student's own calls")
    add("--call-tokens", type=int, default=3, help="teacher tokens of a dictated call")
    add("--trigger", default="", help="measure this trigger against never, in place of the relay against its models")
    add("--warming", choices=("auto", "on", "off"), default="auto", help="as in RelaySettings")
    add("--seed", type=int, default=0, help="seed of the problems")
    add_output_options(parser)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    options = parse_arguments(arguments)
    return run_benchmark(options, lambda: asyncio.run(measure(options)), show)


if __name__ == "__main__":
    raise SystemExit(main())
