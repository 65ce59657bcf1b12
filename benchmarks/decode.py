"""What the relay costs: its tokens per second against the ideal, and one hand-over in student steps.

    python benchmarks/decode.py                       # the bundled pair on its own problems
    python benchmarks/decode.py --every 100           # the same pair with a call dictated every 100 tokens
    python benchmarks/decode.py --student PATH --teacher PATH --every 100 --json
    python benchmarks/decode.py --student vllm:PATH --teacher vllm:PATH --vllm-args '{"enforce_eager": true}'
    taskset -c 1 python benchmarks/decode.py --student vllm:PATH --teacher vllm:PATH --student-cpus 0 --teacher-cpus 1

The ideal is the time in which each model alone writes what it wrote in the relay, at the rate it has alone in the
same engine and the same run, as many requests at once:

    ideal = student tokens / student-alone rate + teacher tokens / teacher-alone rate
    ratio = ideal / relay's time

One hand-over is timed by itself: from the command's last token to the student's next one, less the time that the
teacher's tokens and that one student token take at those rates; in steps of the student, as many requests at once.

Rounds of relay, student alone and teacher alone take turns, so that a change in the machine's speed meets all three;
each part gets problems of its own, so that none finds another's prompts in the cache. Accuracy is measured elsewhere
(``relay demo``).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal

from relay_core import (
    Author,
    CallEnded,
    CallStarted,
    Finished,
    Relay,
    RelayError,
    RelaySettings,
    TextDelta,
    VLLMEngine,
    command,
    engine_from_spec,
)
from relay_core.chat import Conversation, render
from relay_core.engines.base import Chunk, Engine, Finish, Prompt, Sampling, Token

Messages = Sequence[dict[str, str]]


class Dictated(Engine):
    """A student whose words are its own but for a command every ``every`` tokens on average.

    Every token is decoded by the student and takes its time; those of the command then get its ids. So calls come
    on schedule whatever the student has learned, until it ends the answer; half to one and a half times ``every``
    apart, by the prompt, since requests that begin together do not call together either.
    """

    def __init__(self, inner: Engine, every: int, n: int) -> None:
        self.inner, self.spec, self.every, self.n = inner, f"dictated({inner.spec})", every, n
        self._command: list[Token] = []

    @property
    def tokenizer(self) -> Any:
        return self.inner.tokenizer

    @property
    def context_length(self) -> int | None:
        return self.inner.context_length

    async def start(self) -> None:
        await self.inner.start()
        tokenizer = self.inner.tokenizer
        assert tokenizer is not None
        decoder = tokenizer.decoder()
        self._command = [Token(i, decoder.step(i)) for i in tokenizer.encode(command.write(self.n))]

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        assert prompt.token_ids is not None
        every = max(len(self._command), self.every // 2 + sum(prompt.token_ids) % self.every)
        begin, written = every - len(self._command), 0
        asked = Sampling(sampling.max_tokens, sampling.temperature)
        async with aclosing(self.inner.stream(prompt, asked)) as chunks:
            async for chunk in chunks:
                tokens: list[Token] = []
                for token in chunk.tokens:
                    at = written - begin
                    dictated = sampling.stop and 0 <= at < len(self._command)
                    tokens.append(self._command[at] if dictated else token._replace(text=token.text.replace("<", "")))
                    written += 1
                finish = Finish.STOP if sampling.stop and written >= every else chunk.finish
                yield Chunk(tokens, finish, chunk.end_token, chunk.usage)
                if finish is not None:
                    return


@dataclass(slots=True)
class Part:
    """What one kind of work came to, over all rounds: tokens and seconds."""

    tokens: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds


@dataclass(slots=True)
class Figures:
    """Everything measured with ``at_once`` requests at once."""

    at_once: int
    student: Part = field(default_factory=Part)
    teacher: Part = field(default_factory=Part)
    relay: Part = field(default_factory=Part)
    student_tokens: int = 0
    teacher_tokens: int = 0
    calls: int = 0
    handed_over: Part = field(default_factory=Part)  # teacher tokens of calls that came back, and their seconds
    returned: int = 0  # how many those are
    ratios: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        ideal = self.student_tokens / self.student.rate + self.teacher_tokens / self.teacher.rate
        return {
            "ratio_to_ideal": round(ideal / self.relay.seconds, 3),
            "handover_steps": round(self.handover_steps, 2) if self.returned else None,
            "tokens_per_s": round(self.relay.rate, 1),
            "student_tokens_per_s": round(self.student.rate, 1),
            "teacher_tokens_per_s": round(self.teacher.rate, 1),
            "student_tokens": self.student_tokens,
            "teacher_tokens": self.teacher_tokens,
            "calls": self.calls,
            "ratios_of_rounds": [round(r, 3) for r in self.ratios],
        }

    @property
    def handover_steps(self) -> float:
        """What one hand-over costs beside the tokens it brings, in student steps."""
        step, teacher_step = self.at_once / self.student.rate, self.at_once / self.teacher.rate
        lost = self.handed_over.seconds - self.handed_over.tokens * teacher_step
        return lost / self.returned / step - 1


class Problems:
    """Prompts of the bundled task, each given out once."""

    def __init__(self, seed: int) -> None:
        from relay_core.bundled import task

        self._make, self._seed, self._ready = task.demo_problems, seed, list[Any]()

    def take(self, n: int) -> list[Messages]:
        """The next ``n`` prompts."""
        while len(self._ready) < n:
            self._ready += self._make(300, seed=self._seed)
            self._seed += 1
        taken, self._ready = self._ready[:n], self._ready[n:]
        return [problem.messages for problem in taken]


async def timed(
    part: Part, at_once: int, prompts: Sequence[Messages], one: Callable[[Messages], Awaitable[int]]
) -> None:
    """Run ``one`` on every prompt, ``at_once`` at a time; add tokens and seconds to ``part``."""
    gate = asyncio.Semaphore(at_once)

    async def gated(prompt: Messages) -> int:
        async with gate:
            return await one(prompt)

    began = time.perf_counter()
    part.tokens += sum(await asyncio.gather(*map(gated, prompts)))
    part.seconds += time.perf_counter() - began


def alone(engine: Engine, max_tokens: int) -> Callable[[Messages], Awaitable[int]]:
    """One model writes an answer by itself, straight from the engine; how many tokens it wrote."""

    async def one(prompt: Messages) -> int:
        assert engine.tokenizer is not None
        rendered = render(engine.tokenizer, Conversation.of(prompt))
        tokens = 0
        async with aclosing(engine.stream(Prompt(rendered.text, rendered.token_ids), Sampling(max_tokens))) as chunks:
            async for chunk in chunks:
                tokens += len(chunk.tokens) + (chunk.end_token is not None)
        return tokens

    return one


def together(relay: Relay, figures: Figures) -> Callable[[Messages], Awaitable[int]]:
    """The relay writes an answer; who wrote how much goes to ``figures``."""

    async def one(prompt: Messages) -> int:
        called_at: float | None = None
        received = 0
        async with aclosing(relay.astream(prompt)) as events:
            async for event in events:
                if isinstance(event, CallStarted):
                    called_at = time.perf_counter()
                elif isinstance(event, CallEnded):
                    received = event.received
                elif isinstance(event, TextDelta) and event.author is Author.STUDENT and called_at is not None:
                    figures.handed_over.seconds += time.perf_counter() - called_at
                    figures.handed_over.tokens += received
                    figures.returned += 1
                    called_at = None
                elif isinstance(event, Finished):
                    usage = event.result.usage
        figures.student_tokens += usage.student_tokens + usage.command_tokens
        figures.teacher_tokens += usage.teacher_tokens
        figures.calls += usage.calls
        return usage.completion_tokens

    return one


async def measure(
    relay: Relay, student: Engine, teacher: Engine, at_once: int, answers: int, rounds: int, problems: Problems
) -> Figures:
    """Take turns between the three kinds of work, ``answers`` answers each, ``rounds`` times."""
    total, length = Figures(at_once), relay.settings.max_tokens
    for number in range(rounds + 1):
        this = Figures(at_once)
        await timed(this.student, at_once, problems.take(answers), alone(student, length))
        await timed(this.relay, at_once, problems.take(answers), together(relay, this))
        await timed(this.teacher, at_once, problems.take(max(1, answers // 2)), alone(teacher, length))
        if number == 0:
            continue  # the first round warms everything up
        total.ratios.append(this.as_dict()["ratio_to_ideal"])
        for name in ("student", "teacher", "relay", "handed_over"):
            mine, its = getattr(total, name), getattr(this, name)
            mine.tokens, mine.seconds = mine.tokens + its.tokens, mine.seconds + its.seconds
        total.student_tokens += this.student_tokens
        total.teacher_tokens += this.teacher_tokens
        total.calls += this.calls
        total.returned += this.returned
    return total


def built(spec: str, role: Literal["student", "teacher"], vllm_args: dict[str, Any]) -> Engine:
    """The engine of a spec; one in vLLM with these arguments of its ``AsyncEngineArgs``."""
    kind, _, model = spec.partition(":")
    return VLLMEngine(model, **vllm_args) if kind == "vllm" else engine_from_spec(spec, role=role)


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure for every number of requests; the JSON."""
    student = built(options.student, "student", {**options.vllm_args, "cpus": options.student_cpus})
    teacher = built(options.teacher, "teacher", {**options.vllm_args, "cpus": options.teacher_cpus})
    leader = Dictated(student, options.every, options.call_tokens) if options.every else student
    settings = RelaySettings(max_tokens=options.max_tokens, on_teacher_stop="continue", warming=options.warming)
    relay = Relay(leader, teacher, settings)
    problems = Problems(options.seed)
    result: dict[str, Any] = {"student": student.spec, "teacher": teacher.spec, "every": options.every, "requests": {}}
    try:
        await relay.start()
        for at_once in options.requests:
            answers = options.answers or max(12, 2 * at_once)
            figures = await measure(relay, student, teacher, at_once, answers, options.rounds, problems)
            result["requests"][str(at_once)] = figures.as_dict()
    finally:
        await student.aclose()
        await teacher.aclose()
    return result


def show(result: dict[str, Any]) -> None:
    """The figures as a table."""
    from rich.console import Console
    from rich.table import Table

    schedule = f"a call every {result['every']} student tokens" if result["every"] else "its own calls"
    table = Table(title=f"{result['student']} and {result['teacher']}, {schedule}")
    columns = ("requests", "ratio to ideal", "hand-over, steps", "tokens/s", "student alone", "teacher alone", "calls")
    for column in columns:
        table.add_column(column, justify="right")
    for requests, f in result["requests"].items():
        spread = f"{f['ratio_to_ideal']:.2f} ({min(f['ratios_of_rounds']):.2f}-{max(f['ratios_of_rounds']):.2f})"
        steps = "-" if f["handover_steps"] is None else f"{f['handover_steps']:.1f}"
        rates = [f"{f[name]:,.0f}" for name in ("tokens_per_s", "student_tokens_per_s", "teacher_tokens_per_s")]
        table.add_row(requests, spread, steps, *rates, str(f["calls"]))
    Console().print(table)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The relay's speed against the ideal.")
    parser.add_argument("--student", default="bundled", help="engine spec")
    parser.add_argument("--teacher", default="bundled", help="engine spec")
    parser.add_argument("--vllm-args", type=json.loads, default={}, metavar="JSON", help="of engines in vLLM")
    for role in ("student", "teacher"):
        help_ = "processors of the student, if in vLLM" if role == "student" else "of the teacher"
        parser.add_argument(f"--{role}-cpus", type=int, nargs="+", metavar="CPU", help=help_)
    parser.add_argument("--requests", type=int, nargs="+", default=[1, 64], help="how many at once")
    parser.add_argument("--answers", type=int, default=0, help="of a part of a round; 0: twice the requests, or 12")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=256, help="of an answer")
    parser.add_argument("--every", type=int, default=0, help="dictate a call after so many student tokens")
    parser.add_argument("--call-tokens", type=int, default=3, help="teacher tokens of a dictated call")
    parser.add_argument("--warming", choices=("auto", "on", "off"), default="auto", help="as in RelaySettings")
    parser.add_argument("--seed", type=int, default=0, help="of the problems")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        result = asyncio.run(run(options))
    except RelayError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(result))
    else:
        show(result)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
