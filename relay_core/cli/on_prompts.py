"""What ``relay tune`` and ``relay audit`` share: flags for prompts, both engines, budgets, prices, files, progress."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relay_core.cli import terminal
from relay_core.cli.options import Options, quiet_loading
from relay_core.errors import ConfigurationError
from relay_core.evaluate.prices import EXAMPLE_PRICES
from relay_core.settings import Prices, RelaySettings

if TYPE_CHECKING:
    from relay_core.engines.base import Engine
    from relay_core.evaluate.answers import Answers
    from relay_core.evaluate.prompts import Prompts
    from relay_core.evaluate.tune import Stage

PROMPTS_HELP = (
    "A .jsonl file (a column with the prompt, or OpenAI's chat logs), a .parquet file, a .txt file with one prompt a "
    "line, bundled, or MODULE:CLASS (a task)."
)

Question = Annotated[
    str | None, typer.Option(help="The column with the prompt; by default messages, or question.", show_default=False)
]
Answered = Annotated[
    str | None,
    typer.Option(
        "--answers", help="The column with the right answers; else the teacher's are taken.", metavar="COLUMN"
    ),
]
Grader = Annotated[
    str | None,
    typer.Option(help="math, number, exact, choice, regex:PATTERN or MODULE:FUNCTION.", show_default=False),
]
Sample = Annotated[int, typer.Option(min=1, help="How many prompts to draw; all, if there are no more.")]
SampleSeed = Annotated[int, typer.Option(min=0, help="Draws other prompts.")]
Concurrency = Annotated[int, typer.Option(min=1, help="How many prompts are answered at a time.")]
Out = Annotated[
    Path | None,
    typer.Option(help="A folder for the report and all answers; a later run goes on there.", show_default=False),
]


def read(options: Options, source: str, question: str | None, answers: str | None, sample: int, seed: int) -> Prompts:
    """Read the prompts, and say which were left out."""
    from relay_core.evaluate.prompts import read_prompts

    prompts = read_prompts(source, question=question, answers=answers, sample=sample, seed=seed)
    if prompts.unusable and not options.json:
        first = f"{prompts.unusable[0]}"
        terminal.err().print(f"{len(prompts.unusable)} prompts are left out ({first})", soft_wrap=True, markup=False)
    return prompts


def settings_of(options: Options) -> RelaySettings:
    """The settings of every answer: a failing teacher ends the run, and calls have no limit unless one was given.

    ``max_tokens`` bounds the teacher's tokens of an answer.

    Raises:
        ConfigurationError: the settings refuse every call.
    """
    settings = options.settings
    if not settings.calls:
        raise ConfigurationError("--no-calls leaves no relay to measure: leave it out")
    if "max_calls" not in options.given:
        settings = replace(settings, max_calls=None)
    if "on_teacher_error" not in options.given:
        settings = replace(settings, on_teacher_error="raise")
    return settings


def prices_of(options: Options) -> Prices:
    """The prices that were given, or examples."""
    return options.settings.prices or EXAMPLE_PRICES


def about_prices(options: Options) -> str:
    """A line about the costs in the table."""
    return (
        "calls, tokens, tokens read and seconds: per answer; cost: of 1000 answers, without caching and cached, at "
        f"{prices_in_words(options)}"
    )


def prices_in_words(options: Options) -> str:
    """The prices, and whether they are examples."""
    p = prices_of(options)
    kind = "the given" if options.settings.prices else "example"
    return (
        f"{kind} prices per million tokens (--price): student {p.student_input:g} in and {p.student_output:g} out, "
        f"teacher {p.teacher_input:g} in and {p.teacher_output:g} out"
    )


def answers_in(out: Path | None) -> Answers:
    """The answers that the folder holds, or none.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    from relay_core.evaluate.answers import Answers
    from relay_core.evaluate.store import Journal

    try:
        return Answers(None if out is None else Journal(out / "answers.jsonl"))
    except OSError as error:
        raise ConfigurationError(f"--out {out} cannot be written: {error.strerror or error}") from error


@asynccontextmanager
async def both_engines(options: Options) -> AsyncIterator[tuple[Engine, Engine]]:
    """The student's and the teacher's engine; they are closed at the end."""
    from relay_core.engines.spec import engine_from_spec

    quiet_loading(options.student, options.teacher)
    student = engine_from_spec(options.student, role="student")
    try:
        teacher = engine_from_spec(options.teacher, role="teacher")
        try:
            yield student, teacher
        finally:
            await teacher.aclose()
    finally:
        await student.aclose()


def stages(*, shown: bool) -> Stage:
    """Progress on stderr: a bar for each stage on a terminal, elsewhere a line every few seconds."""
    from relay_core.evaluate.progress import Progress

    @contextmanager
    def stage(label: str, total: int) -> Iterator[Callable[[], object]]:
        if not shown:
            yield lambda: None
            return
        with Progress(label, total) as progress:
            yield progress.step

    return stage
