"""`relay demo`: student alone, relay and teacher alone on held-out problems of the bundled task, measured now.

Nothing is stored: every figure comes from answers written while you wait. How a method is measured is in
`evaluate/measure.py`, the problems are in `bundled/task.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay_core.cli import terminal
from relay_core.cli.options import Options, quiet_loading, with_options
from relay_core.settings import Prices

if TYPE_CHECKING:
    from relay_core.bundled.task import Problem
    from relay_core.evaluate.measure import Answered, Measured

METHODS = {"student": "student alone", "relay": "relay", "teacher": "teacher alone"}
#: per million tokens, roughly as hosted models of 1.7 and 8 billion parameters relate; the bundled pair is free
EXAMPLE_PRICES = Prices(student_input=0.02, student_output=0.06, teacher_input=0.10, teacher_output=0.30)


@with_options
def demo(
    options: Options,
    problems: Annotated[int, typer.Option(min=10, help="How many held-out problems.")] = 300,
    problem_seed: Annotated[int, typer.Option(min=0, help="Draws other problems.")] = 0,
    base: Annotated[
        str | None,
        typer.Option(help="The student alone: bundled:student-base, or what --student names.", show_default=False),
    ] = None,
) -> None:
    """Student alone, relay and teacher alone on 300 held-out problems, then one answer in colour."""
    from relay_core.bundled.task import demo_problems

    if options.settings.prices is None:
        options = replace(options, settings=replace(options.settings, prices=EXAMPLE_PRICES))
    if base is None:
        base = "bundled:student-base" if options.student == "bundled" else options.student
    quiet_loading(options.student, options.teacher, base)
    began = time.monotonic()
    chosen = demo_problems(problems, seed=problem_seed)
    measured, answered = asyncio.run(_measure_all(options, base, chosen))
    seconds = time.monotonic() - began
    example = _example(chosen, answered)
    if options.json:
        methods = {name: m.as_dict() for name, m in measured.items()}
        about = None if example is None else {"question": _question(example), **example.result.as_dict()}
        terminal.write_json({"problems": problems, "seconds": seconds, "methods": methods, "example": about})
    else:
        _print(measured, options.settings.prices or EXAMPLE_PRICES, example, seconds)


async def _measure_all(
    options: Options, base: str, problems: Sequence[Problem]
) -> tuple[dict[str, Measured], dict[str, list[Answered]]]:
    from relay_core.engines.spec import engine_from_spec
    from relay_core.evaluate.measure import measure
    from relay_core.relay import Relay

    measured: dict[str, Measured] = {}
    answered: dict[str, list[Answered]] = {name: [] for name in METHODS}
    async with AsyncExitStack() as stack:
        teacher = engine_from_spec(options.teacher, role="teacher")
        stack.push_async_callback(teacher.aclose)
        student = engine_from_spec(options.student, role="student")
        stack.push_async_callback(student.aclose)
        alone = student if base == options.student else engine_from_spec(base, role="student")
        stack.push_async_callback(alone.aclose)
        settings = options.settings

        def of(name: str, tick: Callable[[Answered], None]) -> Awaitable[Measured]:
            if name == "student":
                return measure(Relay(alone, None, settings), problems, on_answer=tick, calls=False)
            if name == "relay":
                return measure(Relay(student, teacher, settings), problems, on_answer=tick)
            return measure(Relay(teacher, None, settings), problems, on_answer=tick, written_by="teacher", calls=False)

        with _progress(len(problems), shown=not options.json) as ticker:
            for name, label in METHODS.items():
                measured[name] = await of(name, ticker(label, answered[name]))
    return measured, answered


Tick = Callable[["Answered"], None]


@contextmanager
def _progress(total: int, *, shown: bool) -> Iterator[Callable[[str, list[Answered]], Tick]]:
    """Yields (label, list) -> a function that notes an answer: a bar on a terminal, a few plain lines elsewhere."""
    err = terminal.err()
    if not shown:

        def quietly(label: str, kept: list[Answered]) -> Tick:
            return kept.append

        yield quietly
    elif err.is_terminal:
        from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

        with Progress(*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn(), console=err) as p:

            def bar(label: str, kept: list[Answered]) -> Tick:
                task = p.add_task(f"{label:13}", total=total)

                def advance(a: Answered) -> None:
                    kept.append(a)
                    p.advance(task)

                return advance

            yield bar
    else:

        def lines(label: str, kept: list[Answered]) -> Tick:
            marks = {total * quarter // 4 for quarter in (1, 2, 3, 4)}

            def note(a: Answered) -> None:
                kept.append(a)
                if len(kept) in marks:
                    err.print(f"{label}: {len(kept)} of {total} answered")

            return note

        yield lines


def _example(problems: Sequence[Problem], answered: dict[str, list[Answered]]) -> Answered | None:
    """A right answer with a call, where the student alone was wrong; a question without context if there is one."""
    wrong = {id(a.problem) for a in answered["student"] if not a.correct}
    order = {id(p): (len(p.messages) > 1 or bool(p.context), i) for i, p in enumerate(problems)}
    fitting = [a for a in answered["relay"] if a.correct and a.result.usage.teacher_tokens and id(a.problem) in wrong]
    return min(fitting, key=lambda a: order[id(a.problem)], default=None)


def _question(answered: Answered) -> str:
    return str(answered.problem.messages[-1]["content"])


def _print(measured: dict[str, Measured], prices: Prices, example: Answered | None, seconds: float) -> None:
    from rich.text import Text

    out = terminal.out()
    out.print(_table(measured, prices), soft_wrap=False)
    out.print(_verdict(measured, seconds), soft_wrap=False)
    if example is not None:
        out.print()
        out.print(Text.assemble(("Question: ", "bold"), terminal.plain(_question(example))), soft_wrap=False)
        out.print(Text.assemble(("Relay's answer: ", "bold"), terminal.answer(example.result)), soft_wrap=False)
        line = terminal.usage_line(replace(example.result, seconds=0.0), quote=True)
        legend = (terminal.legend(), "; ") if out.is_terminal else ()
        out.print(Text.assemble("(", *legend, f"{line})"), soft_wrap=False)


def _table(measured: dict[str, Measured], prices: Prices) -> Any:
    from rich import box
    from rich.table import Table

    first = measured["relay"]
    caption = (
        f"cost: of 1000 answers, at example prices per million tokens of {prices.student_input:g} in and "
        f"{prices.student_output:g} out for the student, {prices.teacher_input:g} and {prices.teacher_output:g} for "
        "the teacher, every prompt that a call reads again included"
    )
    title = f"{first.problems} held-out problems, answered just now; share of right answers"
    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("", no_wrap=True)
    bands = list(first.bands)
    for heading in ("all", *bands, "call\nratio", "calls/\nanswer", "tokens\n/s", "cost"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, m in measured.items():
        cost = "" if m.cost is None else f"{1000 * m.cost / m.problems:.4f}"
        shares = [f"{m.accuracy:.1%}", *(f"{m.bands[b]:.1%}" for b in bands), f"{m.call_ratio:.1%}"]
        calls = "-" if name == "teacher" else f"{m.calls:.2f}"
        table.add_row(METHODS[name], *shares, calls, f"{m.tokens_per_s:,.0f}", cost)
    return table


def _verdict(measured: dict[str, Measured], seconds: float) -> str:
    student, relay, teacher = (measured[name].accuracy for name in METHODS)
    took = f"All of it took {seconds:.0f} s."
    if teacher <= student:
        return took
    easy = measured["relay"].called.get("easy", 0.0)
    share = (relay - student) / (teacher - student)
    return (
        f"The relay recovers {share:.0%} of the gap between student and teacher, the teacher writing "
        f"{measured['relay'].call_ratio:.1%} of the tokens; it calls on {easy:.0%} of the easy problems. {took}"
    )
