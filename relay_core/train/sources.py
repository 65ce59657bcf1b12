"""Where warm-up's training rows come from: `warmup.source` is `random`, `guided`, `told` or `answers`.

Whichever it is, a row holds ``input_ids`` and ``labels``, and ``rows.json`` in the stage's folder says how many rows
there are, how many calls they hold, and what the teacher wrote and read for them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relay_core.engines.base import Engine
from relay_core.errors import ConfigurationError
from relay_core.evaluate.ray_data import Cluster
from relay_core.evaluate.store import write_json
from relay_core.evaluate.task import Task
from relay_core.relay import Relay
from relay_core.tokenizer import Tokenizer
from relay_core.train import answers, guided, processes, sampling, told, warmup
from relay_core.train.jobs import Job, Row
from relay_core.train.recipe import Recipe
from relay_core.train.replay import Draft
from relay_core.train.supervised import TrainingRows


def check(recipe: Recipe, teacher: Engine | None) -> None:
    """Refuse what the recipe's source cannot work with, before a model is loaded.

    Raises:
        ConfigurationError: the teacher cannot read, or the instructions are unknown.
    """
    if recipe.warmup.source == "guided":
        assert teacher is not None
        guided.check(teacher)
    elif recipe.warmup.source == "told":
        told.instructions(recipe.warmup.instructions)


def calls_teacher(recipe: Recipe) -> bool:
    """Whether the recipe's source needs the teacher."""
    return recipe.warmup.source != "random"


def spreads(recipe: Recipe) -> bool:
    """Whether the recipe's source can sample in actors of a cluster; `guided` and `answers` run in this process."""
    return recipe.warmup.source in ("random", "told")


def training_rows(
    recipe: Recipe,
    task: Task,
    student: Engine,
    teacher: Engine | None,
    jobs: Sequence[Job],
    folder: Path,
    cluster: Cluster | None = None,
) -> TrainingRows:
    """The rows to train on.

    Args:
        recipe: the run's values.
        task: grades the answers, but for `random`.
        student: the engine on the student that is trained.
        teacher: needed where :func:`calls_teacher`.
        jobs: the answers to sample.
        folder: receives the answers, as soon as they are there, and ``rows.json``.
        cluster: the machines that sample, for a source that :func:`spreads`; ``None`` means this process.

    Raises:
        ConfigurationError: no answer can be trained on, or none holds a call.
        EngineError: an engine failed; all that was sampled is kept.
    """
    source = recipe.warmup.source
    report: dict[str, Any]
    if source == "random":
        rows, report = _random(recipe, student, jobs, folder, cluster), {}
    else:
        assert teacher is not None
        if source == "guided":
            rows, report = _guided(recipe, task, student, teacher, jobs, folder)
        elif source == "answers":
            rows, report = _answers(recipe, task, student, teacher, jobs, folder)
        else:
            rows, report = _told(recipe, task, student, teacher, jobs, folder, cluster)
        if not report["calls"]:
            raise ConfigurationError(_NO_CALL[source].format(rows=len(rows), answers=len(jobs)))
    if processes.is_main():
        write_json(folder / "rows.json", {"source": source, "answers": len(jobs), "rows": len(rows), **report})
    return rows


_NO_CALL = {
    "guided": "warmup.source is guided, and {rows} of {answers} answers ended right, none of them with a call: lower "
    "warmup.margin, raise warmup.rounds or warmup.call_tokens, or use problems that the teacher can solve",
    "told": "warmup.source is told, and {rows} of {answers} answers ended right, none of them with a call: write other "
    "warmup.instructions, or use a larger student or --warmup.source guided",
    "answers": "warmup.source is answers, and {rows} of {answers} answers can be trained on, none of them with a call: "
    "raise warmup.below or relay.max_calls, or write another warmup.matching",
}


def _random(
    recipe: Recipe, student: Engine, jobs: Sequence[Job], folder: Path, cluster: Cluster | None
) -> TrainingRows:
    config = recipe.warmup
    relay = Relay(student, None, recipe.settings())
    path = folder / "samples.jsonl"
    samples = sampling.sample(relay, jobs, path, temperature=config.temperature, cluster=cluster)
    if not samples:
        raise ConfigurationError(f"none of {len(jobs)} samples of {student.spec} ended: raise relay.max_tokens")
    assert student.tokenizer is not None
    return warmup.rows(samples, student.tokenizer.encode, config, seed=recipe.seed)


def _guided(
    recipe: Recipe, task: Task, student: Engine, teacher: Engine, jobs: Sequence[Job], folder: Path
) -> tuple[TrainingRows, dict[str, Any]]:
    guide = guided.Guide(student, teacher, task, recipe.warmup, recipe.settings(), recipe.seed)
    found = guide.transcripts(jobs, folder)
    tokenizer = student.tokenizer
    assert tokenizer is not None
    rows, calls = _fitting([Draft.from_dict(row["draft"]) for row in found if row["right"]], tokenizer, recipe)
    unaided, unsolved = (_own(recipe, found, solved=solved) for solved in (True, False))
    own = [guided.training_row(draft, tokenizer.encode) for draft in (*unaided, *unsolved)]
    return rows + own, {
        "right_alone": sum(row["alone"] for row in found),
        **calls,
        "unaided": len(unaided),
        "unsolved": len(unsolved),
        "samples": sum(row["samples"] for row in found),
        "ungraded": sum(row.get("ungraded", 0) for row in found),
        "teacher_wrote": sum(row["teacher_wrote"] for row in found),
        "teacher_read": sum(row["teacher_read"] for row in found),
    }


def _answers(
    recipe: Recipe, task: Task, student: Engine, teacher: Engine, jobs: Sequence[Job], folder: Path
) -> tuple[TrainingRows, dict[str, Any]]:
    found, drafts = answers.transcripts(student, teacher, task, jobs, folder, recipe.warmup, recipe.settings())
    assert student.tokenizer is not None
    rows, calls = _fitting(drafts, student.tokenizer, recipe)
    return rows, {**answers.report(found), **calls}


def _fitting(drafts: Sequence[Draft], tokenizer: Tokenizer, recipe: Recipe) -> tuple[TrainingRows, dict[str, Any]]:
    """The rows of the drafts that fit in the student's answer with their commands, and figures of their calls."""
    rows = [guided.training_row(draft, tokenizer.encode) for draft in drafts]
    fitting = [
        (row, draft)
        for row, draft in zip(rows, drafts, strict=True)
        if len(row["input_ids"]) - len(draft.prompt_ids) <= recipe.settings().max_tokens
    ]
    return [row for row, _ in fitting], _calls([[len(call.ids) for call in draft.calls] for _, draft in fitting])


def _own(recipe: Recipe, found: Sequence[Row], *, solved: bool) -> list[Draft]:
    """The student's own wrong answers to a share of the problems that calls solved, or did not solve."""
    share = recipe.warmup.unaided if solved else recipe.warmup.unsolved
    rows = [row for row in found if row["right"] is solved and row["unaided"] is not None]
    rng = random.Random(f"relay-train/{'unaided' if solved else 'unsolved'}/{recipe.seed}")
    return [Draft.from_dict(row["unaided"]) for row in rng.sample(rows, round(share * len(rows)))]


def _told(
    recipe: Recipe,
    task: Task,
    student: Engine,
    teacher: Engine,
    jobs: Sequence[Job],
    folder: Path,
    cluster: Cluster | None,
) -> tuple[TrainingRows, dict[str, Any]]:
    config, settings = recipe.warmup, recipe.settings()
    options = {"temperature": config.temperature, "top_p": 1.0, "top_k": None}
    text = told.instructions(config.instructions)
    found = told.answers(Relay(student, teacher, settings), task, jobs, folder, text, cluster, **options)
    assert student.tokenizer is not None
    rows = told.training_rows(found, jobs, student.tokenizer, enable_thinking=settings.enable_thinking)
    return rows, {
        "right": sum(row["right"] is True for row in found),
        "ungraded": sum(row["right"] is None for row in found),
        **_calls([row["calls"] for row in found if row["token_ids"] is not None]),
        "failed_calls": sum(row["failed_calls"] for row in found),
        "teacher_wrote": sum(row["teacher_wrote"] for row in found),
        "teacher_read": sum(row["teacher_read"] for row in found),
    }


def _calls(calls: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Figures of the rows' calls, each given by the tokens that it brought."""
    brought = [n for row in calls for n in row]
    return {
        "rows_with_calls": sum(bool(row) for row in calls),
        "calls": len(brought),
        "mean_n": round(sum(brought) / len(brought), 2) if brought else None,
    }
