"""The teacher's own answers to problems: what distillation and warm-up's source `answers` train on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from relay_core.errors import ConfigurationError
from relay_core.evaluate.ray_data import Cluster
from relay_core.evaluate.task import Task, graded
from relay_core.events import FinishReason, RelayResult
from relay_core.relay import Relay
from relay_core.train import cost
from relay_core.train.jobs import Job, JobFile, Row
from relay_core.train.sampling import sampled_rows


def answered(
    teacher: Relay,
    task: Task,
    jobs: Sequence[Job],
    file: Path,
    *,
    temperature: float,
    label: str,
    cluster: Cluster | None = None,
) -> list[Row]:
    """Let the teacher answer the jobs; rows in their order.

    A row holds ``text``, ``ended`` (whether the answer ended by itself), ``right`` (``False`` for an answer that a
    limit cut off, ``None`` for one that could not be graded), and the tokens that the teacher wrote (``tokens``) and
    read (``read``).

    Args:
        teacher: a relay whose student engine is the teacher, and which has no teacher to call.
        task: grades the answers.
        jobs: one answer to each problem.
        file: the file for the rows; answers that are there are not sampled again.
        temperature: the teacher's temperature.
        label: the name of the progress.
        cluster: the machines that answer; ``None`` means this process.

    Raises:
        ConfigurationError: the teacher answered no problem right, or the file holds answers to other problems.
        EngineError: the teacher failed; all earlier answers are kept.
    """

    def row(job: Job, result: RelayResult) -> Row:
        ended = result.finish_reason is FinishReason.STOP
        right = graded(task, result.text, job.problem) if ended else False
        return {"right": right, "ended": ended, "text": result.text, **cost.counted(result.usage)}

    sampling = {"temperature": temperature, "top_p": 1.0, "top_k": None}
    answers = sampled_rows(JobFile(file, jobs), teacher, row, label=label, cluster=cluster, **sampling)
    if not any(answer["right"] for answer in answers):
        cut_off = sum(not answer["ended"] for answer in answers)
        raise ConfigurationError(
            f"the teacher answers none of {len(answers)} problems right ({cut_off} answers were cut off): use another "
            "teacher, other problems or another task.grader, or raise relay.max_tokens"
        )
    return answers
