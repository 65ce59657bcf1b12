"""``relay audit``: what a relay would do on the user's prompts, and whether the relay pays."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay_core.cli import on_prompts, terminal
from relay_core.cli.options import Options, with_options
from relay_core.errors import ConfigurationError

if TYPE_CHECKING:
    from relay_core.evaluate.audit import Case, Purse
    from relay_core.evaluate.prompts import Prompts


@with_options
def audit(
    prompts: Annotated[str, typer.Argument(metavar="PROMPTS", help=on_prompts.PROMPTS_HELP, show_default=False)],
    options: Options,
    question: on_prompts.Question = None,
    answers: on_prompts.Answered = None,
    grader: on_prompts.Grader = None,
    sample: on_prompts.Sample = 100,
    sample_seed: on_prompts.SampleSeed = 0,
    concurrency: on_prompts.Concurrency = 8,
    limit_cost: Annotated[
        float | None,
        typer.Option(min=0, help="The most to spend, in the currency of --price.", show_default=False),
    ] = None,
    out: on_prompts.Out = None,
) -> None:
    """Answer your own prompts with the student alone, the relay and the teacher alone; say whether the relay pays."""
    from relay_core.evaluate.agreement import scorer_for
    from relay_core.evaluate.audit_report import AuditReport
    from relay_core.evaluate.store import write_json

    if limit_cost is not None and options.settings.prices is None:
        raise ConfigurationError("--limit-cost needs your prices: write --price teacher_output=0.40 and so on")
    drawn = on_prompts.read(options, prompts, question, answers, sample, sample_seed)
    scorer = scorer_for(drawn, grader=grader, has_answers=answers is not None)
    cases, purse = asyncio.run(_audited(options, drawn, limit_cost, concurrency, out))
    if all(case.too_long for case in cases):
        raise ConfigurationError(_nothing(cases, purse))
    report = AuditReport.of(cases, scorer, on_prompts.prices_of(options))
    value: dict[str, Any] = {
        **report.as_dict(),
        "drawn": len(drawn.problems),
        "unusable": len(drawn.unusable),
        "spent": purse.spent,
        "limit_reached": purse.is_empty,
    }
    if out is not None:
        write_json(out / "audit.json", value)
    if options.json:
        terminal.print_json(value)
        return
    plain = terminal.out()
    if purse.is_empty:
        plain.print(f"--limit-cost was reached after {len(cases)} of {len(drawn.problems)} prompts", markup=False)
    plain.print(report.text(), markup=False)
    plain.print(on_prompts.about_prices(options), markup=False)


def _nothing(cases: list[Case], purse: Purse) -> str:
    """Why there is nothing to report on."""
    if cases:
        too_long = (answer.too_long for answer in cases[0].answers.values() if answer.too_long is not None)
        return f"no prompt fits into the contexts of both models: {next(too_long)}"
    return f"--limit-cost {purse.limit:g} allows no prompt ({purse.spent:g} is spent): write a higher one"


async def _audited(
    options: Options, prompts: Prompts, limit_cost: float | None, concurrency: int, out: Path | None
) -> tuple[list[Case], Purse]:
    from relay_core.evaluate.audit import Purse, audit
    from relay_core.evaluate.comparison import three_methods

    prices, answers = on_prompts.prices_of(options), on_prompts.answers_in(out)
    purse = Purse(limit_cost, prices, answers.cost(prices))
    async with on_prompts.both_engines(options) as (student, teacher):
        settings = on_prompts.settings_of(options)
        methods = three_methods(base=student, student=student, teacher=teacher, settings=settings)
        with on_prompts.stages(shown=not options.json)("prompts", len(prompts.problems)) as advance:
            cases = await audit(prompts.problems, methods, answers, purse, concurrency=concurrency, on_case=advance)
    return cases, purse
