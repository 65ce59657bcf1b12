"""Accuracy against call ratio of several triggers on one pair of models, beside each model alone.

    python benchmarks/triggers.py --student PATH --teacher PATH --prompts FILE --answers answer --out FOLDER

Every trigger answers the same prompts. Beside each ``uncertain`` it measures a ``chance`` that calls for as many tokens
at random places, with a probability that gives the call ratio just measured. The last column compares with a router
that sends whole prompts to the teacher at random, for the same share of the tokens. ``--out`` keeps all answers, so
that a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.command_line import add_output_options, run_benchmark
from benchmarks.triggers_report import draw, show
from relay_core import Relay, RelaySettings
from relay_core.concurrency import map_concurrently
from relay_core.decoding.triggers import Chance, Trigger, Uncertain, parse_trigger
from relay_core.engines.spec import engine_from_spec
from relay_core.evaluate.agreement import Scorer, scorer_for
from relay_core.evaluate.answers import Answers
from relay_core.evaluate.comparison import Method, three_methods
from relay_core.evaluate.figures import Figures, Scored, figures, routed_share, router_score
from relay_core.evaluate.intervals import Interval, bootstrap
from relay_core.evaluate.progress import Progress
from relay_core.evaluate.prompts import read_prompts
from relay_core.evaluate.store import Journal, write_json
from relay_core.evaluate.task import Problem
from relay_core.settings import Prices

TRIGGERS = (
    "uncertain:0.1,4", "uncertain:0.2,4", "uncertain:0.3,4", "uncertain:0.3,8", "uncertain:0.4,8", "uncertain:0.5,16",
)  # fmt: skip


def chance_of(uncertain: Uncertain, call_ratio: float) -> Chance | None:
    """A ``Chance`` with the same n whose call ratio is to be expected to be ``call_ratio``; none for 0.

    With p per student token, the teacher writes n p of each (1 - p) + n p tokens.
    """
    n, r = uncertain.n, call_ratio
    p = r / (n * (1 - r) + r)
    return Chance(float(f"{p:.3g}"), n) if p else None


def advantage(student: Sequence[Scored], teacher: Sequence[Scored], relay: Sequence[Scored]) -> tuple[float, Interval]:
    """The relay's score less that of the random router at the same call ratio, with a bootstrap over the prompts."""

    def of(rows: Sequence[tuple[Scored, Scored, Scored]]) -> float:
        scores = [sum(row[i].score or 0.0 for row in rows) / len(rows) for i in range(3)]
        tokens = [sum(row[i].answer.usage.completion_tokens for row in rows) for i in range(3)]
        r = sum(row[2].answer.usage.teacher_tokens for row in rows) / max(1, tokens[2])
        sent = routed_share(r, tokens[0], tokens[1])
        return scores[2] - (scores[0] + sent * (scores[1] - scores[0]))

    graded = (row for row in zip(student, teacher, relay, strict=True) if all(s.score is not None for s in row))
    rows = list(graded)
    return of(rows), bootstrap(rows, of)


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The figures of each model alone and of every trigger."""
    prompts = read_prompts(options.prompts, question=options.question, answers=options.answers, sample=options.sample)
    examples = json.loads(options.examples.read_text(encoding="utf-8")) if options.examples else []
    problems = [replace(problem, messages=(*examples, *problem.messages)) for problem in prompts.problems]
    scorer = scorer_for(prompts, grader=options.grader, has_answers=True)
    settings = RelaySettings(max_tokens=options.max_tokens, max_calls=None, on_teacher_error="raise")
    student = engine_from_spec(options.student, role="student")
    teacher = engine_from_spec(options.teacher, role="teacher")
    answers = Answers(Journal(options.out / "answers.jsonl"))
    try:
        methods = three_methods(base=student, student=student, teacher=teacher, settings=settings)

        async def scored(label: str, method: Method) -> list[Scored]:
            return await _scored(answers, method, problems, scorer, label, options)

        alone = [await scored(f"{name} alone", methods[name]) for name in ("student", "teacher")]
        rows: dict[str, list[Scored]] = {}

        async def add(trigger: Trigger) -> Figures:
            name = str(trigger)
            rows[name] = await scored(name, Method(name, Relay(student, teacher, replace(settings, trigger=trigger))))
            return _figures(rows[name])

        for text in options.trigger or TRIGGERS:
            trigger = parse_trigger(text)
            figures_of_it = await add(trigger)
            if isinstance(trigger, Uncertain) and options.chance:
                chance = chance_of(trigger, figures_of_it.call_ratio)
                if chance is not None:
                    await add(chance)
    finally:
        await teacher.aclose()
        await student.aclose()
    result = _result(options, alone, rows)
    write_json(options.out / "triggers.json", result)
    return result


async def _scored(
    answers: Answers, method: Method, problems: Sequence[Problem], scorer: Scorer, label: str,
    options: argparse.Namespace,
) -> list[Scored]:  # fmt: skip
    with nullcontext() if options.json else Progress(label, len(problems)) as progress:

        async def one(problem: Problem) -> Scored:
            kept = await answers.to(problem, method)
            if progress is not None:
                progress.step()
            return Scored(kept, scorer.score(kept.text, problem, ""), kept.usage.teacher_prompt_tokens)

        return await map_concurrently(one, problems, limit=options.concurrency)


def _figures(scored: Sequence[Scored]) -> Figures:
    return figures(scored, Prices(), graded=True)


def _result(options: argparse.Namespace, alone: list[list[Scored]], rows: dict[str, list[Scored]]) -> dict[str, Any]:
    student, teacher = (_figures(scored) for scored in alone)
    methods: dict[str, Any] = {}
    for name, scored in rows.items():
        f = _figures(scored)
        difference, interval = advantage(alone[0], alone[1], scored)
        methods[name] = {
            **_row(scored),
            "router": router_score(student, teacher, f.call_ratio),
            "advantage": difference,
            "advantage_interval": interval,
        }
    return {
        "student": options.student, "teacher": options.teacher, "prompts": options.prompts,
        "max_tokens": options.max_tokens, "n": len(alone[0]),
        "alone": {"student": _row(alone[0]), "teacher": _row(alone[1])}, "triggers": methods,
    }  # fmt: skip


def _row(scored: Sequence[Scored]) -> dict[str, Any]:
    f = _figures(scored)
    ended = sum(s.answer.finish_reason == "stop" for s in scored) / len(scored)
    wanted = (
        "score", "score_interval", "ungraded", "call_ratio", "call_ratio_interval", "calls", "tokens", "teacher_tokens",
    )  # fmt: skip
    return {**{name: getattr(f, name) for name in wanted}, "ended": ended}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description="Accuracy against call ratio of several triggers.")
    parser.add_argument("--student", required=True, help="engine spec")
    parser.add_argument("--teacher", required=True, help="engine spec")
    parser.add_argument("--prompts", required=True, help="a file or a task, as for relay tune")
    parser.add_argument("--question", help="the column with the prompt")
    parser.add_argument("--answers", default="answer", help="the column with the right answers")
    parser.add_argument("--grader", default="number")
    parser.add_argument("--examples", type=Path, help="a JSON file of messages that stand before each prompt")
    parser.add_argument("--sample", type=int, default=200, help="how many prompts to draw")
    parser.add_argument("--trigger", action="append", help="a trigger to measure; several times")
    parser.add_argument("--no-chance", dest="chance", action="store_false", help="leave out chance at the same ratios")
    parser.add_argument("--max-tokens", type=int, default=160)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--out", type=Path, required=True, help="a folder for all answers; a later run goes on there")
    add_output_options(parser, plot=True)
    options = parser.parse_args(arguments)
    return run_benchmark(options, lambda: asyncio.run(measure(options)), show, draw=draw)


if __name__ == "__main__":
    raise SystemExit(main())
