"""``relay tune``: chooses a trigger's numbers that reach a given call ratio on the user's prompts.

Before it chooses those of the trigger ``hidden``, it fits the head, and stops if the head is no better than the
student's bare probability.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay_core.cli import on_prompts, terminal
from relay_core.cli.options import Options, with_options
from relay_core.errors import ConfigurationError

if TYPE_CHECKING:
    from relay_core.evaluate.head_report import Fitted
    from relay_core.evaluate.prompts import Prompts
    from relay_core.evaluate.tune import Tuned, Tuner


_NS = [4, 8, 16]
_MARGIN = 3.0


class TunedTrigger(StrEnum):
    """The triggers whose numbers the command can choose."""

    COMMANDS = "commands"
    UNCERTAIN = "uncertain"
    HIDDEN = "hidden"


@with_options
def tune(
    options: Options,
    prompts: Annotated[str, typer.Option(help=on_prompts.PROMPTS_HELP, show_default=False)],
    trigger: Annotated[
        TunedTrigger,
        typer.Option(
            help="The trigger whose numbers are chosen; for commands, the bias; for hidden, a head is fitted first."
        ),
    ] = TunedTrigger.UNCERTAIN,
    target_ratio: Annotated[float, typer.Option(help="The share of the tokens that the teacher is to write.")] = 0.05,
    n: Annotated[list[int], typer.Option(help="Teacher tokens of a call to try; several times.")] = _NS,
    gap: Annotated[list[int], typer.Option(help="Gaps to try (uncertain); several times.")] = [0],  # noqa: B006
    margin: Annotated[
        float, typer.Option(help="hidden: a token is wrong if the teacher puts it this far below its best, in nats.")
    ] = _MARGIN,
    question: on_prompts.Question = None,
    answers: on_prompts.Answered = None,
    grader: on_prompts.Grader = None,
    sample: on_prompts.Sample = 100,
    sample_seed: on_prompts.SampleSeed = 0,
    concurrency: on_prompts.Concurrency = 16,
    out: on_prompts.Out = None,
) -> None:
    """Choose a trigger's numbers so that the teacher writes a given share of the tokens of your own prompts."""
    from relay_core.evaluate.agreement import scorer_for
    from relay_core.evaluate.searches import Biases, Bounds
    from relay_core.evaluate.tune_report import TuneReport

    has_head = trigger is TunedTrigger.HIDDEN
    _check(options, trigger, target_ratio, n, gap, margin, out)
    drawn = on_prompts.read(options, prompts, question, answers, sample, sample_seed)
    scorer = scorer_for(drawn, grader=grader, has_answers=answers is not None)
    search = (
        Biases() if trigger is TunedTrigger.COMMANDS else Bounds(tuple(dict.fromkeys(n)), tuple(dict.fromkeys(gap)))
    )
    tuner_flags = {"target": target_ratio, "search": search, "scorer": scorer, "concurrency": concurrency}
    fitted, tuned = asyncio.run(_tuned(options, drawn, tuner_flags, out, margin if has_head else None))
    value: dict[str, Any] = {"unusable": len(drawn.unusable)}
    lines: list[str] = []
    if fitted is not None:
        value["head"], lines = fitted.as_dict(), [fitted.text()]
    if tuned is None:
        assert fitted is not None
        source = {"question": question, "answers": answers, "grader": grader, "sample": sample, "out": out}
        instead = _instead(options, {"prompts": prompts, **source, "target-ratio": f"{target_ratio:g}"})
        value |= {"trigger": None, "target_ratio": target_ratio, "verdict": fitted.verdict(), "instead": instead}
        _show(options, value, out, None, [*lines, f"use the trigger uncertain instead: {instead}"])
        return
    report = TuneReport(tuned, target_ratio, scorer)
    limit = "" if "max_calls" in options.given else f" --max-calls {options.settings.max_tokens}"
    use = f"relay ask --trigger {shlex.quote(str(tuned.chosen))}{limit} --max-tokens {options.settings.max_tokens} ..."
    use = f"use it: {use}" if report.is_recommended else f"do not rely on it before you have tried it: {use}"
    lines += [report.text(), on_prompts.about_prices(options), use]
    _show(options, {**report.as_dict(), **value}, out, report.picture(), lines)


def _check(
    options: Options,
    trigger: TunedTrigger,
    target_ratio: float,
    n: Sequence[int],
    gap: Sequence[int],
    margin: float,
    out: Path | None,
) -> None:
    if not 0 < target_ratio < 1:
        raise ConfigurationError(f"--target-ratio is {target_ratio:g}: write a share above 0 and under 1")
    if trigger is not TunedTrigger.HIDDEN and margin != _MARGIN:
        raise ConfigurationError(f"the trigger {trigger} has no head to fit: leave out --margin")
    if trigger is TunedTrigger.COMMANDS:
        if [*n, *gap] != [*_NS, 0]:
            raise ConfigurationError("the student's commands say how many tokens they want: leave out --n and --gap")
        return
    if options.settings.student_instructions:
        raise ConfigurationError(
            "under the triggers uncertain and hidden no command opens a call: leave out --instructions"
        )
    if trigger is not TunedTrigger.HIDDEN:
        return
    if out is None:
        raise ConfigurationError("--trigger hidden writes the head into a folder: write --out FOLDER")
    if list(gap) != [0]:
        raise ConfigurationError("the trigger hidden has no gap: leave out --gap")
    if not 0 < margin < 100:
        raise ConfigurationError(f"--margin is {margin:g}: write a number of nats above 0 and under 100, such as 3")


def _show(options: Options, value: dict[str, Any], out: Path | None, picture: str | None, lines: list[str]) -> None:
    """Write the report's files, and print it."""
    from relay_core.evaluate.store import write_json

    if out is not None:
        write_json(out / "tune.json", value)
        if picture is not None:
            (out / "tune.svg").write_text(picture, encoding="utf-8")
    if options.json:
        terminal.print_json(value)
        return
    for line in lines:
        terminal.out().print(line, markup=False)


def _instead(options: Options, flags: dict[str, Any]) -> str:
    """The command that tunes ``uncertain`` on the same prompts."""
    words = ["relay", "tune", "--trigger", "uncertain", "--student", options.student, "--teacher", options.teacher]
    for name, value in flags.items():
        words += [] if value is None else [f"--{name}", str(value)]
    return shlex.join(words)


async def _tuned(
    options: Options, prompts: Prompts, flags: dict[str, Any], out: Path | None, margin: float | None
) -> tuple[Fitted | None, Tuned | None]:
    """Tune; if there is a margin, fit a head before, and tune only if it is better than the bare probability."""
    from relay_core.evaluate.searches import Bounds
    from relay_core.evaluate.tune import Tuner

    async with on_prompts.both_engines(options) as (student, teacher):
        tuner = Tuner(
            student=student,
            teacher=teacher,
            settings=on_prompts.settings_of(options),
            prices=on_prompts.prices_of(options),
            answers=on_prompts.answers_in(out),
            stage=on_prompts.stages(shown=not options.json),
            **flags,
        )
        search = tuner.search
        if margin is None or out is None or not isinstance(search, Bounds):
            return None, await tuner.tune(prompts.problems)
        fitted = await _fitted(tuner, prompts, out, margin)
        if not fitted.is_better:
            return fitted, None
        by_head = replace(search, head=fitted.folder)
        return fitted, await replace(tuner, search=by_head).tune(fitted.held_out)


async def _fitted(tuner: Tuner, prompts: Prompts, out: Path, margin: float) -> Fitted:
    """The head, in a folder of ``out``, and what it is worth."""
    from relay_core.evaluate.objections import Objector, reader
    from relay_core.evaluate.store import Journal

    for role in ("student", "teacher"):
        reader(getattr(tuner, role), role)  # before torch is needed
    from relay_core.evaluate.tune_head import HeadTuner

    return await HeadTuner(
        student=tuner.student,
        teacher=tuner.teacher,
        objector=Objector(tuner.student, tuner.teacher, tuner.settings, Journal(out / "objections.jsonl")),
        folder=out / "head",
        stage=tuner.stage,
        margin=margin,
        concurrency=tuner.concurrency,
    ).fit(prompts.problems)
