"""``relay demo``: measures student alone, relay and teacher alone on held-out problems of a task.

No figures are stored: the models write all answers while you wait. ``evaluate/comparison.py`` measures the methods and
makes the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay_core.cli import terminal
from relay_core.cli.options import Options, quiet_loading, with_options
from relay_core.settings import Prices
from relay_core.unicode import printable

if TYPE_CHECKING:
    from relay_core.evaluate.comparison import Comparison, OnAnswer
    from relay_core.evaluate.measure import Answered
    from relay_core.evaluate.task import Problem, Task

#: example prices per million tokens, in roughly the ratio of hosted models with 1.7 and 8 billion parameters
EXAMPLE_PRICES = Prices(student_input=0.02, student_output=0.06, teacher_input=0.10, teacher_output=0.30)


@with_options
def demo(
    options: Options,
    task: Annotated[
        str,
        typer.Option(help="bundled, a JSONL or Parquet file or hub id (columns: question, answer), or MODULE:CLASS."),
    ] = "bundled",
    problems: Annotated[int, typer.Option(min=10, help="How many held-out problems.")] = 300,
    problem_seed: Annotated[int, typer.Option(min=0, help="Selects other problems.")] = 0,
    base: Annotated[
        str | None,
        typer.Option(
            help="The student that answers alone; default: bundled:student-base, or the model of --student.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Measure student alone, relay and teacher alone on 300 held-out problems, then show one answer in colour."""
    from relay_core.evaluate.task import task_from_spec

    if options.settings.prices is None:
        options = replace(options, settings=replace(options.settings, prices=EXAMPLE_PRICES))
    if base is None:
        base = "bundled:student-base" if options.student == "bundled" else options.student
    quiet_loading(options.student, options.teacher, base)
    source = task_from_spec(task)
    drawn = source.problems("test", problems, seed=problem_seed)
    answers: dict[str, list[Answered]] = {}
    compared = asyncio.run(_compare(options, base, source, drawn, answers))
    example = _example(drawn, answers)
    if options.json:
        about = None if example is None else {"question": _question(example), **example.result.as_dict()}
        terminal.print_json({**compared.as_dict(), "example": about})
    else:
        _print(compared, options.settings.prices or EXAMPLE_PRICES, example)


async def _compare(
    options: Options, base: str, task: Task, problems: Sequence[Problem], answers: dict[str, list[Answered]]
) -> Comparison:
    """Measure the three methods, and add the answers of each method to ``answers`` under its name."""
    from relay_core.engines.spec import engine_from_spec
    from relay_core.evaluate.comparison import compare, three_methods

    async with AsyncExitStack() as stack:
        teacher = engine_from_spec(options.teacher, role="teacher")
        stack.push_async_callback(teacher.aclose)
        student = engine_from_spec(options.student, role="student")
        stack.push_async_callback(student.aclose)
        alone = student if base == options.student else engine_from_spec(base, role="student")
        stack.push_async_callback(alone.aclose)
        methods = three_methods(base=alone, student=student, teacher=teacher, settings=options.settings)
        with _progress(len(problems), shown=not options.json) as progress_of:

            def on_answer(name: str) -> OnAnswer:
                show, kept = progress_of(methods[name].label), answers.setdefault(name, [])

                def note(answer: Answered) -> None:
                    kept.append(answer)
                    show()

                return note

            return await compare(task, problems, methods, on_answer=on_answer)


@contextmanager
def _progress(total: int, *, shown: bool) -> Iterator[Callable[[str], Callable[[], None]]]:
    """Show progress: on a terminal, a bar per method; elsewhere, a line at each quarter of ``total``.

    Args:
        total: the number of answers of each method.
        shown: whether to show anything.

    Yields:
        A function to call with a method's label before the method is measured. It returns a function to call after
        each answer of this method.
    """
    err = terminal.err()
    if not shown:
        yield lambda label: lambda: None
    elif err.is_terminal:
        from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

        with Progress(*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn(), console=err) as p:

            def bar(label: str) -> Callable[[], None]:
                row = p.add_task(f"{label:13}", total=total)
                return lambda: p.advance(row)

            yield bar
    else:

        def lines(label: str) -> Callable[[], None]:
            marks = {total * quarter // 4 for quarter in (1, 2, 3, 4)}
            count = 0

            def advance() -> None:
                nonlocal count
                count += 1
                if count in marks:
                    err.print(f"{label}: {count} of {total} answered")

            return advance

        yield lines


def _example(problems: Sequence[Problem], answers: dict[str, list[Answered]]) -> Answered | None:
    """An answer to show, in which the relay called and was right and the student alone was wrong.

    Answers to one-line questions are preferred. ``None`` if there is no such answer.
    """
    wrong = {answer.problem.id for answer in answers["student"] if answer.correct is False}
    order = {p.id: (len(p.messages) > 1 or "\n" in str(p.messages[-1]["content"]), i) for i, p in enumerate(problems)}
    fitting = [
        answer
        for answer in answers["relay"]
        if answer.correct and answer.result.usage.teacher_tokens and answer.problem.id in wrong
    ]
    return min(fitting, key=lambda answer: order[answer.problem.id], default=None)


def _question(answered: Answered) -> str:
    return str(answered.problem.messages[-1]["content"])


def _print(compared: Comparison, prices: Prices, example: Answered | None) -> None:
    from rich.text import Text

    out = terminal.out()
    out.print(_table(compared, prices), soft_wrap=False)
    for sentence in [*compared.ungraded(), compared.verdict()]:
        out.print(sentence, soft_wrap=False)
    if example is not None:
        out.print()
        out.print(Text.assemble(("Question: ", "bold"), printable(_question(example))), soft_wrap=False)
        out.print(Text.assemble(("Relay's answer: ", "bold"), terminal.answer(example.result)), soft_wrap=False)
        line = terminal.usage_line(replace(example.result, seconds=0.0), quote=True)
        legend = (terminal.legend(), "; ") if out.is_terminal else ()
        out.print(Text.assemble("(", *legend, f"{line})"), soft_wrap=False)


def _table(compared: Comparison, prices: Prices) -> Any:
    from rich import box
    from rich.table import Table

    caption = (
        f"cost: of 1000 answers, at example prices per million tokens of {prices.student_input:g} in and "
        f"{prices.student_output:g} out for the student, {prices.teacher_input:g} and {prices.teacher_output:g} for "
        "the teacher, every prompt that a call reads again included"
    )
    title = f"{compared.problems} held-out problems, answered just now; share of right answers"
    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for i, heading in enumerate(compared.headings):
        table.add_column(heading, justify="right" if i else "left", no_wrap=True)
    for row in compared.rows():
        table.add_row(*row)
    return table
