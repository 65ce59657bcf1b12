"""Sampling: the answers of one model, without calls, to many problems.

The answers are sampled in this process, or over Ray Data in actors on one or many machines. Their rows are the same:
every answer has its own seed, and its row is made here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay_core.evaluate.ray_data import Cluster
from relay_core.events import FinishReason, RelayResult
from relay_core.relay import Relay
from relay_core.train.jobs import Job, JobFile, Row
from relay_core.train.sampling_here import local
from relay_core.train.sampling_over_ray import over_ray

LIMIT = 128
"""How many answers run at a time, in this process or in each actor."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One of the student's own answers: the prompt's ids, and the ids that it sampled, the end token included."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]


def sample(
    relay: Relay, jobs: Sequence[Job], path: Path, *, temperature: float, cluster: Cluster | None = None
) -> list[Sample]:
    """Sample the student's own answers.

    An answer that a limit cut off is left out, because it has no end token to train on.

    Args:
        relay: the relay whose student is sampled, without top_p and top_k.
        jobs: the answers to sample.
        path: the file for one row per answer. Answers that are there, or in its parts, are not sampled again.
        temperature: the student's temperature.
        cluster: as for :func:`sampled_rows`.
    """

    def row(job: Job, result: RelayResult) -> Row:
        training = result.transcript.training_row()
        ended = result.finish_reason is FinishReason.STOP
        return {"ended": ended, "prompt_ids": list(training.prompt_ids), "token_ids": list(training.token_ids)}

    sampling: dict[str, Any] = {"temperature": temperature, "top_p": 1.0, "top_k": None}
    rows = sampled_rows(JobFile(path, jobs), relay, row, label="samples", cluster=cluster, **sampling)
    return [Sample(tuple(r["prompt_ids"]), tuple(r["token_ids"])) for r in rows if r["ended"]]


def sampled_rows(
    file: JobFile,
    relay: Relay,
    row: Callable[[Job, RelayResult], Row],
    *,
    label: str,
    cluster: Cluster | None = None,
    **overrides: Any,
) -> list[Row]:
    """Answer the jobs of a file that have no row yet, with calls refused unless ``overrides`` allow them.

    Args:
        file: the jobs.
        relay: the relay that answers. With a cluster, its engines must be named by specs: each actor loads its own.
        row: makes the values of a job's row from its answer.
        label: the name of the progress.
        cluster: the machines that answer; ``None`` means this process.
        overrides: settings of every answer, by name (:class:`~relay_core.settings.RelaySettings`).

    Returns:
        The rows of all jobs, in their order.

    Raises:
        EngineError: an engine failed; all earlier answers are kept.
    """
    options: dict[str, Any] = {"label": label, "done": len(file.known), "limit": LIMIT, **overrides}
    if cluster is None:
        return file.run(local(relay, row, **options))
    return file.run(over_ray(relay, row, cluster, **options), by_main=True)
