"""``relay tune``: chooses the trigger ``uncertain`` that reaches a given call ratio on the user's prompts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay_core.cli import on_prompts, terminal
from relay_core.cli.options import Options, with_options
from relay_core.errors import ConfigurationError

if TYPE_CHECKING:
    from relay_core.evaluate.agreement import Scorer
    from relay_core.evaluate.prompts import Prompts
    from relay_core.evaluate.tune import Tuned


class TunedTrigger(StrEnum):
    """The triggers whose numbers the command can choose."""

    UNCERTAIN = "uncertain"


@with_options
def tune(
    options: Options,
    prompts: Annotated[str, typer.Option(help=on_prompts.PROMPTS_HELP, show_default=False)],
    trigger: Annotated[
        TunedTrigger, typer.Option(help="The trigger whose numbers are chosen.")
    ] = TunedTrigger.UNCERTAIN,
    target_ratio: Annotated[float, typer.Option(help="The share of the tokens that the teacher is to write.")] = 0.05,
    n: Annotated[list[int], typer.Option(help="Teacher tokens of a call to try; several times.")] = [4, 8, 16],  # noqa: B006
    gap: Annotated[list[int], typer.Option(help="Gaps to try; several times.")] = [0],  # noqa: B006
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
    from relay_core.evaluate.store import write_json
    from relay_core.evaluate.tune_report import TuneReport

    if not 0 < target_ratio < 1:
        raise ConfigurationError(f"--target-ratio is {target_ratio:g}: write a share above 0 and under 1")
    if options.settings.student_instructions:
        raise ConfigurationError("under the trigger uncertain no command opens a call: leave out --instructions")
    drawn = on_prompts.read(options, prompts, question, answers, sample, sample_seed)
    scorer = scorer_for(drawn, grader=grader, has_answers=answers is not None)
    tuned = asyncio.run(_tuned(options, drawn, scorer, target_ratio, n, gap, concurrency, out))
    report = TuneReport(tuned, target_ratio, scorer)
    value: dict[str, Any] = {**report.as_dict(), "unusable": len(drawn.unusable)}
    if out is not None:
        write_json(out / "tune.json", value)
        (out / "tune.svg").write_text(report.picture(), encoding="utf-8")
    if options.json:
        terminal.print_json(value)
        return
    plain = terminal.out()
    plain.print(report.text(), markup=False)
    plain.print(on_prompts.about_prices(options), markup=False)
    limit = "" if "max_calls" in options.given else f" --max-calls {options.settings.max_tokens}"
    plain.print(f"use it: relay ask --trigger {tuned.chosen}{limit} ...", markup=False)


async def _tuned(
    options: Options,
    prompts: Prompts,
    scorer: Scorer,
    target: float,
    ns: Sequence[int],
    gaps: Sequence[int],
    concurrency: int,
    out: Path | None,
) -> Tuned:
    from relay_core.evaluate.tune import Tuner

    async with on_prompts.both_engines(options) as (student, teacher):
        tuner = Tuner(
            student=student,
            teacher=teacher,
            settings=on_prompts.settings_of(options),
            scorer=scorer,
            prices=on_prompts.prices_of(options),
            answers=on_prompts.answers_in(out),
            target=target,
            ns=list(dict.fromkeys(ns)),
            gaps=list(dict.fromkeys(gaps)),
            stage=on_prompts.stages(shown=not options.json),
            concurrency=concurrency,
        )
        return await tuner.tune(prompts.problems)
