"""The relay over real vLLM servers, against each model alone and against rounds of blocking batch calls.

    python benchmarks/serving.py                                     # everything; half an hour on two cores
    python benchmarks/serving.py --pair bundled --requests 64 --methods relay,lockstep --delay-ms 0,50
    python benchmarks/serving.py --pair random --requests 1 --json --plot serving.png

Two vLLM servers run on this machine, one thread each: student and teacher of the bundled pair on its own problems, or
a pair of Qwen3's shape with random weights (30 M and 119 M parameters) and scripted calls (``random_pair.py``), whose
answers are as mixed in length as solutions of real problems are: the logarithm of their lengths in Qwen3's tokens has a
standard deviation of 0.76 on MATH-500 and 0.88 on OlympiadBench. Each method gets the same prompts; all answers are
greedy. Rounds of all methods take turns, with both servers' prefix caches emptied in between. So many requests run at
once: the streaming methods begin the next one when an answer ends, lock-step takes them batch by batch, as published.
``--answers 64 --requests 64`` is a single batch for all.

    student, teacher    the model alone, streamed
    relay, warming      the relay, its setting ``warming`` off or on
    lockstep            rounds of blocking batch calls, text passed on (``lockstep.py``)

``--delay-ms`` puts the tests' proxy before the teacher, which delays every request by so much.

    tokens/s          tokens of all answers / seconds until the last was there
    first token       seconds until a reader sees something
    hand-over         from the command's end to the student's next token, less the time of the teacher's tokens;
                      in lock-step: to when the student is asked again
    in steps          the mean hand-over in student steps, less the one step that the student's token takes
    ratio to ideal    (student tokens / student-alone rate + teacher tokens / teacher-alone rate) / the relay's time

A step is the median time between two tokens of one answer, as many requests at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx

from benchmarks import random_pair
from benchmarks.lockstep import Answer, Lockstep, Party
from relay_core import (
    Author,
    CallEnded,
    CallStarted,
    Finished,
    OpenAIEngine,
    Relay,
    RelayError,
    RelaySettings,
    TextDelta,
    bundled,
)
from relay_core.chat import Conversation, render
from relay_core.engines.base import Engine, Prompt, Sampling
from testing.servers import delayed, vllm_server

ALONE = ("student", "teacher")
RELAYED = ("relay", "warming", "lockstep")
ROOM = 64  # of the context, for the chat template
COLOURS = {
    "student": "tab:gray",
    "teacher": "tab:brown",
    "relay": "tab:blue",
    "warming": "tab:orange",
    "lockstep": "tab:red",
}


# -- what is asked -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """One request; its answer may have so many tokens."""

    messages: Sequence[dict[str, str]]
    max_tokens: int


@dataclass
class Pair:
    """Two models in folders, where the student of random weights calls, and the requests to make of them."""

    student: Path
    teacher: Path
    points: random_pair.Points | None
    draw: Callable[[int, int], list[Asked]]  # (how many, seed) -> requests


def bundled_pair(max_tokens: int) -> Pair:
    from relay_core.bundled import task

    def draw(n: int, seed: int) -> list[Asked]:
        return [Asked(problem.messages, max_tokens) for problem in task.demo_problems(n, seed=seed)]

    return Pair(bundled.path("student-relay"), bundled.path("teacher"), None, draw)


def drawn_pair(folder: Path, options: argparse.Namespace) -> Pair:
    """The random pair, made in ``folder``; prompts and answers of mixed lengths."""
    loaded = random_pair.make(folder)
    vocabulary = random_pair.words(loaded)

    def draw(n: int, seed: int) -> list[Asked]:
        rng = random.Random(seed)
        drawn = []
        for _ in range(n):
            length = rng.randint(options.prompt_tokens // 2, options.prompt_tokens * 3 // 2)
            text = loaded.decode(rng.choices(vocabulary, k=length)).strip()
            tokens = round(options.answer_tokens * math.exp(rng.gauss(0, options.answer_spread)))
            most = random_pair.CONTEXT - length - ROOM
            drawn.append(Asked([{"role": "user", "content": text}], min(max(tokens, 8), most)))
        return drawn

    return Pair(folder / "student", folder / "teacher", random_pair.points(options.every, options.call_tokens), draw)


# -- what came of it ---------------------------------------------------------------------------------------------------


@dataclass
class Got:
    """One answer: tokens by author, seconds to the first, between two, and of each hand-over with its tokens."""

    text: str = ""
    student_tokens: int = 0
    teacher_tokens: int = 0
    first_s: float = 0.0
    seconds: float = 0.0
    step_s: float | None = None
    handovers: list[tuple[float, int]] = field(default_factory=list)
    teacher_steps: list[float] = field(default_factory=list)


@dataclass
class Run:
    """All answers of one method, over all rounds, and the seconds that they took."""

    got: list[Got] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return sum(g.student_tokens + g.teacher_tokens for g in self.got) / self.seconds

    @property
    def step_s(self) -> float | None:
        """The median time between two tokens of one answer."""
        steps = [g.step_s for g in self.got if g.step_s is not None]
        return statistics.median(steps) if steps else None

    @property
    def teacher_step_s(self) -> float | None:
        """The same for the teacher's tokens within calls."""
        steps = [step for g in self.got for step in g.teacher_steps]
        return statistics.median(steps) if steps else None


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """p50 and p95."""
    if not values:
        return None
    ordered = sorted(values)
    late = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return {"p50": round(statistics.median(ordered), 4), "p95": round(late, 4)}


def figures(runs: dict[str, Run], name: str) -> dict[str, Any]:
    """What is said of one method; ``runs`` are all of the same pair and number of requests, by name."""
    run = runs[name]
    student, teacher = runs.get("student"), runs.get("teacher")
    tokens = {role: sum(getattr(g, f"{role}_tokens") for g in run.got) for role in ALONE}
    said: dict[str, Any] = {
        "tokens_per_s": round(run.rate, 1),
        "first_token_s": spread([g.first_s for g in run.got]),
        "answer_s": spread([g.seconds for g in run.got]),
        "answers": len(run.got),
        "student_tokens": tokens["student"],
        "teacher_tokens": tokens["teacher"],
    }
    if name in ALONE:
        said["step_s"] = None if run.step_s is None else round(run.step_s, 5)
        return said
    step = runs["relay"].teacher_step_s if "relay" in runs else run.teacher_step_s
    blocking = name.startswith("lockstep")
    costs = [seconds - received * (step or 0.0) * (not blocking) for g in run.got for seconds, received in g.handovers]
    said["calls"] = len(costs)
    said["handover_s"] = spread(costs)
    if student is not None and student.step_s and costs and not blocking:
        said["handover_steps"] = round(statistics.fmean(costs) / student.step_s - 1, 2)
    if student is not None and teacher is not None:
        ideal = tokens["student"] / student.rate + tokens["teacher"] / teacher.rate
        said["ratio_to_ideal"] = round(ideal / run.seconds, 3)
    rounds = runs.get(name.replace(name.split()[0], "lockstep", 1))
    if rounds is not None and rounds is not run:
        said["over_lockstep"] = round(run.rate / rounds.rate, 3)
        same = [g.text == other.text for g, other in zip(run.got, rounds.got, strict=True)]
        said["same_answers_as_lockstep"] = round(sum(same) / len(same), 3)
    return said


# -- the methods -------------------------------------------------------------------------------------------------------


async def alone(engine: Engine, role: str, asked: Asked) -> Got:
    """One model writes the answer by itself, straight from the engine."""
    assert engine.tokenizer is not None
    prompt = render(engine.tokenizer, Conversation.of(list(asked.messages)))
    got, began, last, tokens, texts = Got(), time.perf_counter(), 0.0, 0, []
    stream = engine.stream(Prompt(prompt.text, prompt.token_ids, asked.messages), Sampling(asked.max_tokens))
    async with aclosing(stream) as chunks:
        async for chunk in chunks:
            if chunk.tokens:
                last = time.perf_counter() - began
                got.first_s = got.first_s or last
            tokens += len(chunk.tokens) + (chunk.end_token is not None)
            texts += [token.text for token in chunk.tokens]
    got.seconds, got.text = time.perf_counter() - began, "".join(texts)
    got.step_s = (last - got.first_s) / (tokens - 1) if tokens > 1 else None
    setattr(got, f"{role}_tokens", tokens)
    return got


async def relayed(relay: Relay, asked: Asked, **overrides: Any) -> Got:
    """The relay writes the answer."""
    got, began = Got(), time.perf_counter()
    called: float | None = None
    words: list[float] = []
    received = 0
    async with aclosing(relay.astream(list(asked.messages), max_tokens=asked.max_tokens, **overrides)) as events:
        async for event in events:
            now = time.perf_counter()
            if isinstance(event, CallStarted):
                called, words = now, []
            elif isinstance(event, CallEnded):
                if event.error is not None:
                    raise RelayError(f"a call failed: {event.error}")
                received = event.received
                if len(words) > 1:
                    got.teacher_steps.append((words[-1] - words[0]) / (received - 1))
            elif isinstance(event, TextDelta):
                got.first_s = got.first_s or now - began
                if event.author is Author.TEACHER:
                    words.append(now)
                elif called is not None:
                    got.handovers.append((now - called, received))
                    called = None
            elif isinstance(event, Finished):
                usage = event.result.usage
                got.text = event.result.text
                got.student_tokens = usage.student_tokens + usage.command_tokens
                got.teacher_tokens = usage.teacher_tokens
    got.seconds = time.perf_counter() - began
    return got


async def in_rounds(loop: Lockstep, batch: Sequence[Asked]) -> list[Got]:
    """The lock-step loop writes the answers of one batch."""
    answers = [Answer(asked.messages, asked.max_tokens) for asked in batch]
    await loop.answer(answers)
    return [
        Got(a.text, a.student_tokens, a.teacher_tokens, a.first_s, a.seconds, None, [(s, 0) for s in a.handovers])
        for a in answers
    ]


# -- measuring ---------------------------------------------------------------------------------------------------------

Way = Callable[[Sequence[Asked], int], Any]  # (requests, how many at once) -> what came of each


@dataclass
class Site:
    """The servers of a pair, and every way of asking them, by name: ``relay``, or ``relay +50 ms``."""

    urls: tuple[str, str]
    pair: Pair
    ways: dict[str, Way]

    async def empty_caches(self) -> None:
        """Both servers forget what they have read.

        Raises:
            RuntimeError: one of them does not.
        """
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            for url in self.urls:
                for _ in range(50):  # requests that were cancelled may hold their blocks a moment longer
                    if (await client.post(f"{url}/reset_prefix_cache")).json()["success"]:
                        break
                    await asyncio.sleep(0.1)
                else:
                    raise RuntimeError(f"{url} does not empty its prefix cache")


@contextmanager
def served(pair: Pair, logs: Path, extra: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Both models in vLLM; their URLs."""
    logs.mkdir(parents=True, exist_ok=True)
    options = ["--block-size", "32", "--max-num-seqs", "64", *extra]
    with ExitStack() as stack:
        urls = []
        for role, model in zip(ALONE, (pair.student, pair.teacher), strict=True):
            print(f"starting vLLM with {model}", file=sys.stderr)
            log, context = logs / f"{role}.log", random_pair.CONTEXT
            server = vllm_server(model, log, name=role, context=context, options=options, VLLM_SERVER_DEV_MODE="1")
            urls.append(stack.enter_context(server))
        yield urls[0], urls[1]


@asynccontextmanager
async def site(pair: Pair, urls: tuple[str, str], far: dict[int, str], methods: Sequence[str]) -> AsyncIterator[Site]:
    """Engines, relays and loops for the methods asked for; ``far``: the teacher's URL by delay in ms."""
    engines = [
        OpenAIEngine(role, base_url=f"{url}/v1", tokenizer=str(model), mode="ids")
        for role, url, model in zip(ALONE, urls, (pair.student, pair.teacher), strict=True)
    ]
    student, teacher = engines
    loops: list[Lockstep] = []
    ways: dict[str, Way] = {}

    def streamed(one: Callable[[Asked], Any]) -> Way:
        async def way(requests: Sequence[Asked], at_once: int) -> list[Got]:
            room = asyncio.Semaphore(at_once)

            async def in_turn(asked: Asked) -> Got:
                async with room:
                    return cast(Got, await one(asked))

            return list(await asyncio.gather(*map(in_turn, requests)))

        return way

    def batched(loop: Lockstep) -> Way:
        async def way(requests: Sequence[Asked], at_once: int) -> list[Got]:
            starts = range(0, len(requests), at_once)
            return [got for start in starts for got in await in_rounds(loop, requests[start : start + at_once])]

        return way

    if "student" in methods:
        ways["student"] = streamed(lambda asked: alone(student, "student", asked))
    if "teacher" in methods:
        ways["teacher"] = streamed(lambda asked: alone(teacher, "teacher", asked))
    try:
        for engine in engines:
            await engine.start()
        assert student.tokenizer is not None and teacher.tokenizer is not None
        leader: Engine = student if pair.points is None else random_pair.Scheduled(student, pair.points)
        for delay, url in far.items():
            end = f" +{delay} ms" if delay else ""
            remote = teacher
            if delay:
                remote = OpenAIEngine("teacher", f"{url}/v1", tokenizer=teacher.tokenizer, mode="ids")
            engines += [remote] if delay else []
            relay = Relay(leader, remote, RelaySettings(on_teacher_stop="continue"))
            await relay.start()
            for method, overrides in (("relay", {"warming": "off"}), ("warming", {"warming": "on"})):
                if method in methods:
                    ways[method + end] = streamed(lambda asked, r=relay, o=overrides: relayed(r, asked, **o))
            if "lockstep" in methods:
                first = Party(f"{urls[0]}/v1", "student", student.tokenizer)
                loop = Lockstep(first, Party(f"{url}/v1", "teacher", teacher.tokenizer), pair.points)
                loops.append(loop)
                ways["lockstep" + end] = batched(loop)
        yield Site(urls, pair, ways)
    finally:
        for loop in loops:
            await loop.aclose()
        for engine in engines:
            await engine.aclose()


async def measure(site: Site, at_once: int, options: argparse.Namespace) -> dict[str, Run]:
    """All ways in turns, ``at_once`` requests at once."""
    runs = {name: Run() for name in site.ways}
    short = [Asked(asked.messages, 24) for asked in site.pair.draw(min(4, at_once), 10**6 + at_once)]
    for way in site.ways.values():  # opens connections, compiles templates
        await way(short, at_once)
    names = list(runs)
    answers = options.answers or max(4 * at_once, 8)
    for number in range(options.rounds):
        requests = site.pair.draw(answers, options.seed + 1000 * at_once + number)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            await site.empty_caches()
            began = time.perf_counter()
            runs[name].got += await site.ways[name](requests, at_once)
            runs[name].seconds += time.perf_counter() - began
            print(f"{at_once} at once, round {number + 1}, {name}: {runs[name].rate:.0f} tokens/s", file=sys.stderr)
    return runs


async def measured(
    pair: Pair, urls: tuple[str, str], far: dict[int, str], options: argparse.Namespace
) -> dict[str, Any]:
    """Every number of requests of one pair: the JSON."""
    said: dict[str, Any] = {}
    async with site(pair, urls, far, options.methods) as here:
        for at_once in options.requests:
            runs = await measure(here, at_once, options)
            said[str(at_once)] = {name: figures(runs, name) for name in runs}
    return said


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Start what is needed, measure, stop it; the JSON."""
    result: dict[str, Any] = {
        "rounds": options.rounds,
        "delay_ms": options.delay_ms,
        "serve": options.serve,
        "pairs": {},
    }
    for name in options.pair:
        with tempfile.TemporaryDirectory(prefix="serving-") as made, ExitStack() as stack:
            folder = Path(made)
            pair = bundled_pair(options.max_tokens) if name == "bundled" else drawn_pair(folder, options)
            urls = options.urls or stack.enter_context(served(pair, folder / "logs", options.serve))
            far = {
                delay: stack.enter_context(delayed(urls[1], folder / f"proxy{delay}.log", delay / 1000))
                if delay
                else urls[1]
                for delay in options.delay_ms
            }
            result["pairs"][name] = asyncio.run(measured(pair, urls, far, options))
    return result


# -- telling -----------------------------------------------------------------------------------------------------------


def show(result: dict[str, Any]) -> None:
    """The figures as tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.width = max(console.width, 104)
    for pair, by_requests in result["pairs"].items():
        table = Table(title=f"{pair} pair, vLLM on this machine; times in ms as p50 / p95")
        columns = ("requests", "method", "tokens/s", "first token", "hand-over", "in steps", "ratio to ideal")
        for column in (*columns, "over lock-step", "same answers"):
            table.add_column(column, justify="left" if column == "method" else "right", no_wrap=column == "method")
        for requests, methods in by_requests.items():
            for name, f in methods.items():
                rate, times = f"{f['tokens_per_s']:,.0f}", [_ms(f["first_token_s"]), _ms(f.get("handover_s"))]
                keys = ("handover_steps", "ratio_to_ideal", "over_lockstep", "same_answers_as_lockstep")
                rest = ["-" if f.get(key) is None else f"{f[key]:.2f}" for key in keys]
                table.add_row(requests, name, rate, *times, *rest)
            table.add_section()
        console.print(table)


def _ms(said: dict[str, float] | None) -> str:
    return "-" if said is None else f"{said['p50'] * 1000:,.0f} / {said['p95'] * 1000:,.0f}"


def draw(result: dict[str, Any], path: Path) -> None:
    """Tokens/s, first token and hand-over of every method, as a picture: one row a pair, whiskers up to p95."""
    from matplotlib.figure import Figure

    pairs = result["pairs"]
    figure = Figure(figsize=(13, 3.6 * len(pairs)), layout="constrained")
    grid = figure.subplots(len(pairs), 3, squeeze=False)
    for row, (pair, by_requests) in zip(grid, pairs.items(), strict=True):
        names = list(dict.fromkeys(name for methods in by_requests.values() for name in methods))
        for ax, key, title in zip(
            row,
            ("tokens_per_s", "first_token_s", "handover_s"),
            ("tokens/s", "first token, ms", "hand-over, ms"),
            strict=True,
        ):
            for i, name in enumerate(names):
                at = [x + (i - (len(names) - 1) / 2) * 0.8 / len(names) for x in range(len(by_requests))]
                values = [methods.get(name, {}).get(key) for methods in by_requests.values()]
                _bars(ax, at, values, 0.75 / len(names), name)
            ax.set_xticks(range(len(by_requests)), [f"{n} at once" for n in by_requests])
            ax.set_title(f"{pair}: {title}")
            if key != "handover_s" and ax.patches and len(by_requests) > 1:  # a hand-over can take less than nothing
                ax.set_yscale("log")  # one request's bars beside those of many
        row[0].legend(fontsize="x-small")
    figure.savefig(path, dpi=110)


def _bars(ax: Any, at: Sequence[float], values: Sequence[Any], width: float, name: str) -> None:
    """One method's bars: a number, or p50 with a whisker up to p95; nothing where nothing was measured."""
    method, _, delay = name.partition(" ")
    style = {"color": COLOURS[method], "alpha": 0.5 if delay else 1.0, "hatch": "//" if delay else None}
    shown = [(x, v) for x, v in zip(at, values, strict=True) if v is not None]
    heights = [v if isinstance(v, float) else v["p50"] * 1000 for _, v in shown]
    tops = [0 if isinstance(v, float) else (v["p95"] - v["p50"]) * 1000 for _, v in shown]
    ax.bar([x for x, _ in shown], heights, width, yerr=[[0] * len(tops), tops], label=name, **style)


# -- the command line --------------------------------------------------------------------------------------------------


def listed(*choices: str) -> Callable[[str], list[str]]:
    """A parser of ``a,b,c``, each one of ``choices``."""

    def read(text: str) -> list[str]:
        given = [item.strip() for item in text.split(",")]
        if unknown := [item for item in given if item not in choices]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: write some of {','.join(choices)}")
        return given

    return read


def numbers(text: str) -> list[int]:
    """``1,16,64``."""
    try:
        return [int(item) for item in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: write whole numbers, such as 1,16,64") from None


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--pair", type=listed("bundled", "random"), default=["bundled", "random"], help="bundled,random")
    add("--requests", type=numbers, default=[1, 16, 64], help="how many at once, such as 1,16,64")
    methods = (*ALONE, *RELAYED)
    add("--methods", type=listed(*methods), default=list(methods), help=",".join(methods))
    add("--delay-ms", type=numbers, default=[0], help="before the teacher, such as 0,50; one run of each")
    add("--rounds", type=int, default=2)
    add("--answers", type=int, default=0, help="of a round; 0: four times as many as at once, and 8 at least")
    add("--max-tokens", type=int, default=256, help="of an answer of the bundled pair")
    add("--prompt-tokens", type=int, default=192, help="of the random pair's prompts, on average; half to 1.5 times it")
    add("--answer-tokens", type=int, default=64, help="of its answers, the median")
    add("--answer-spread", type=float, default=0.8, help="standard deviation of their lengths' logarithm")
    add("--every", type=int, default=32, help="student tokens before its calls, on average; half to 1.5 times it")
    add("--call-tokens", type=int, default=6, help="teacher tokens of its calls, likewise")
    add(
        "--serve",
        action="append",
        default=[],
        metavar="FLAG",
        help="passed to both servers: --serve=--stream-interval=4",
    )
    add(
        "--urls",
        nargs=2,
        metavar=("STUDENT", "TEACHER"),
        help="of vLLM servers of the pair that run already, with VLLM_SERVER_DEV_MODE=1; none is started",
    )
    add("--seed", type=int, default=0, help="of the requests")
    add("--json", action="store_true")
    add("--plot", type=Path, metavar="FILE")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        result = run(options)
    except RelayError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(result))
    else:
        show(result)
    if options.plot:
        draw(result, options.plot)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
