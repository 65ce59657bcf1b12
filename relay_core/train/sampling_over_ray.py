"""Sampling over Ray Data: what ``sampling.py`` does in this process, in actors on one or many machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from relay_core.engines.in_process import InProcessEngine
from relay_core.evaluate.progress import Progress
from relay_core.evaluate.ray_actor import Answerer
from relay_core.evaluate.ray_data import Cluster, spread
from relay_core.events import RelayResult
from relay_core.relay import Relay
from relay_core.train.jobs import Job, Row


def over_ray(
    relay: Relay,
    row: Callable[[Job, RelayResult], Row],
    cluster: Cluster,
    *,
    label: str,
    done: int,
    limit: int,
    **overrides: Any,
) -> Callable[[Sequence[Job], Callable[[Job, Row], None]], None]:
    """Answer jobs in actors, with calls refused: an argument of :meth:`JobFile.run`.

    Args:
        relay: the relay that answers; each actor loads its engines, which must be named by specs.
        row: makes the values of a job's row from its answer, in this process.
        cluster: the machines.
        label, done: the progress: its name, and the answers that an earlier, killed run sampled.
        limit: how many answers an actor works on at a time.
        overrides: settings of every answer, by name (:class:`~relay_core.settings.RelaySettings`).

    The function that it returns raises EngineError if an engine failed; all earlier answers are kept.
    """

    def answer_all(jobs: Sequence[Job], keep: Callable[[Job, Row], None]) -> None:
        with Progress(label, done + len(jobs), done=done) as progress:

            def kept(index: int, result: RelayResult) -> None:
                keep(jobs[index], row(jobs[index], result))
                progress.step()

            items = [(job.problem.messages, {"calls": False, "seed": job.seed, **overrides}) for job in jobs]
            engines = (relay.student, relay.teacher)
            holds_model = any(isinstance(engine, InProcessEngine) for engine in engines)
            spread(Answerer(relay), items, kept, cluster=cluster, limit=limit, uses_gpu=holds_model)

    return answer_all
