"""``relay eval``: any methods on any benchmarks, with records, a report and pictures."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay_core.cli import on_prompts, terminal
from relay_core.cli.options import Options, quiet_loading, with_options
from relay_core.errors import ConfigurationError
from relay_core.evaluate.table import aligned
from relay_core.evaluate.task import BENCHMARKS

if TYPE_CHECKING:
    from relay_core.evaluate.evaluator import Evaluated
    from relay_core.evaluate.ray_data import Cluster

BENCHMARKS_HELP = (
    f"Benchmarks, separated by spaces: {', '.join(BENCHMARKS)}, a .jsonl or .parquet file or a hub id (with --grader), "
    "or MODULE:CLASS."
)
METHODS_HELP = (
    "Methods, separated by spaces: student, relay, relay:bias=-2, teacher, teacher-free, fixed:20, hand-off, "
    "random-router:0.5, random-tokens:0.02,8, uncertain:0.4,8, told, cascade:min,-1, citer:FOLDER,0.5, grpo:MODEL, "
    "relay-simple:MODEL, speculative:5; behind each ,teacher=SPEC, ,student=SPEC or ,base=SPEC for another model, "
    ",label=TEXT, ,limit=N."
)


Benchmarks = Annotated[list[str], typer.Option(help=BENCHMARKS_HELP)]
Methods = Annotated[list[str], typer.Option(help=METHODS_HELP)]
Base = Annotated[
    str | None,
    typer.Option(
        help="The student before training; default: bundled:student-base, or the model of --student.",
        show_default=False,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        min=1, help="Problems of each benchmark; by default all, or 300 if there is no end.", show_default=False
    ),
]
Samples = Annotated[
    int | None, typer.Option(min=1, help="Answers to each problem; by default 1, and 32 for AIME.", show_default=False)
]
Split = Annotated[
    str, typer.Option(help="The split of the problems, for tasks that have others: dev, where something is chosen.")
]
TuneOn = Annotated[
    str | None,
    typer.Option(
        help="The task whose training problems tune methods without numbers; default: the first benchmark.",
        show_default=False,
    ),
]
Question = Annotated[
    str | None, typer.Option(help="The column with the question, in a file of your own.", show_default=False)
]
Answered = Annotated[
    str | None, typer.Option("--answers", help="The column with the right answer in it.", metavar="COLUMN")
]
DataDir = Annotated[
    Path | None, typer.Option(help="A folder with the benchmarks' files, instead of the hub.", show_default=False)
]
Out = Annotated[
    Path | None,
    typer.Option(help="A folder for answers, records and report; a later run goes on there.", show_default=False),
]
Resume = Annotated[
    bool, typer.Option("--resume/--no-resume", help="Go on from the answers in --out, or refuse if there are any.")
]
Address = Annotated[str | None, typer.Option(help="HOST:PORT of a Ray cluster, or local.", show_default=False)]
Actors = Annotated[int | None, typer.Option(min=1, help="The number of actors.", show_default=False)]
Gpus = Annotated[float | None, typer.Option(min=0, help="GPUs of each actor.", show_default=False)]


@with_options
def evaluate(
    options: Options,
    benchmarks: Benchmarks = ["bundled"],  # noqa: B006
    methods: Methods = ["student relay teacher random-router:0.5"],  # noqa: B006
    base: Base = None,
    limit: Limit = None,
    samples: Samples = None,
    split: Split = "test",
    draw: Annotated[int, typer.Option(min=0, help="Draws other problems and other seeds.")] = 0,
    tune_on: TuneOn = None,
    tune_problems: Annotated[int, typer.Option(min=2, help="How many training problems tune them.")] = 100,
    data_dir: DataDir = None,
    question: Question = None,
    answers: Answered = None,
    grader: on_prompts.Grader = None,
    out: Out = None,
    resume: Resume = True,
    concurrency: Annotated[int, typer.Option(min=1, help="How many answers run at a time.")] = 64,
    title: Annotated[str, typer.Option(help="The report's heading.")] = "Evaluation",
    ray: Annotated[bool, typer.Option("--ray", help="Answer in actors, by Ray Data.")] = False,
    ray_address: Address = None,
    ray_actors: Actors = None,
    ray_gpus: Gpus = None,
) -> None:
    """Evaluate methods on benchmarks: accuracy, the teacher's share and cost, with intervals, tables and pictures."""
    from relay_core.evaluate.evaluator import aevaluate
    from relay_core.evaluate.run import no_stage, shown

    if out is not None and not resume and (out / "answers.jsonl").exists():
        raise ConfigurationError(f"--no-resume, but {out} holds answers: choose another --out, or write --resume")
    quiet_loading(options.student, options.teacher, *([base] if base else []))
    with _answers_in(out):
        done = asyncio.run(
            aevaluate(
                _benchmarks(benchmarks, {"question": question, "answer": answers, "grader": grader}),
                methods,
                student=options.student,
                teacher=options.teacher,
                base=base,
                settings={name: getattr(options.settings, name) for name in options.given},
                limit=limit,
                samples=samples,
                split=split,
                seed=draw,
                tune_on=tune_on,
                tune_problems=tune_problems,
                out=out,
                data_dir=data_dir,
                concurrency=concurrency,
                cluster=_cluster(ray, ray_address, ray_actors, ray_gpus),
                title=title,
                command=shlex.join(["relay", *sys.argv[1:]]) if sys.argv[1:2] == ["eval"] else "",
                stage=no_stage if options.json else shown,
            )
        )
    if options.json:
        terminal.print_json(done.as_dict())
    else:
        _print(done, options)


@contextmanager
def _answers_in(out: Path | None) -> Iterator[None]:
    """Say on standard error how many answers ``out`` holds: before a run, and where it is interrupted."""
    journal = None if out is None else out / "answers.jsonl"

    def say(what: str) -> None:
        count = 0 if journal is None or not journal.is_file() else journal.read_bytes().count(b"\n")
        if count:
            terminal.err().print(f"{out}: {count:,} answers {what}", soft_wrap=True, markup=False, highlight=False)

    say("of an earlier run are there")
    try:
        yield
    except KeyboardInterrupt:
        say("are kept: the same command goes on")
        raise


def _benchmarks(texts: list[str], columns: dict[str, str | None]) -> list[str | dict[str, Any]]:
    """The benchmarks that ``--benchmarks`` names; a file and a hub id get what the flags say of them.

    Raises:
        ConfigurationError: the flags are of no use, since there is neither a file nor a hub id.
    """
    from relay_core.evaluate.task import names_a_class

    given = {name: value for name, value in columns.items() if value is not None}
    names = [name for t in texts for name in ([t] if Path(t).is_file() else t.replace(",", " ").split())]
    if given and all(map(names_a_class, names)):
        raise ConfigurationError("--question, --answers and --grader are for a file or a hub id in --benchmarks")
    return [{"path": name, **given} if given and not names_a_class(name) else name for name in names]


def _cluster(ray: bool, address: str | None, actors: int | None, gpus: float | None) -> Cluster | None:
    """The machines that the flags name; any of them means Ray."""
    from relay_core.evaluate.ray_data import Cluster

    if not ray and address is None and actors is None and gpus is None:
        return None
    return Cluster(address=address, actors=actors, gpus=gpus)


def _print(done: Evaluated, options: Options) -> None:
    from relay_core.evaluate.report.tables import percent
    from relay_core.evaluate.report.verdicts import verdict

    out = terminal.out()
    for summary in done.summaries:
        headings = ["", "accuracy %", "call ratio %", "calls", "tokens", "truncated %", "cost of 1000"]
        rows = [
            [m.label, percent(m.accuracy), percent(m.call_ratio), f"{m.calls:.2f}", f"{m.tokens:.0f}",
             f"{100 * m.truncated:.1f}", f"{1000 * m.cost.value:.4f}"]
            for m in summary.methods
        ]  # fmt: skip
        out.print(f"{summary.title}: {summary.problems} problems", style="bold", markup=False)
        for line in aligned([headings, *rows]):
            out.print(line, soft_wrap=True, markup=False, highlight=False)
        out.print(verdict(summary), markup=False, highlight=False)
        out.print()
    line = f"cost of 1000: all that 1,000 answers read and write, at {on_prompts.prices_in_words(options)}"
    out.print(line, soft_wrap=True, markup=False, highlight=False)
    if done.folder is not None:
        out.print(f"records and report: {done.folder}/report.html", soft_wrap=True, markup=False, highlight=False)
