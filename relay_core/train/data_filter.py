"""The data filter: keep the problems that the teacher can answer (paper, section 3.4).

The teacher answers each problem several times, and a problem is kept if its pass rate reaches a bound. On problems that
the teacher cannot answer, the student would learn to call without any gain. An answer that a limit cut off is wrong,
whatever it holds: GRPO grades it in the same way. An answer that cannot be graded counts neither way; a problem of
which no answer can be graded has the rate 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relay_core.errors import ConfigurationError
from relay_core.evaluate.ray_data import Cluster
from relay_core.evaluate.store import write_rows
from relay_core.evaluate.task import Problem, Task, graded
from relay_core.events import TRUNCATED, RelayResult
from relay_core.relay import Relay
from relay_core.train import cost, processes
from relay_core.train.jobs import Job, JobFile, Row
from relay_core.train.sampling import sampled_rows
from relay_core.train.sections import Filter


def pass_rates(
    teacher: Relay, task: Task, jobs: Sequence[Job], folder: Path, config: Filter, cluster: Cluster | None = None
) -> list[float]:
    """The teacher's pass rate on every problem.

    Args:
        teacher: a relay whose student engine is the teacher, and which has no teacher to call.
        task: grades the answers.
        jobs: ``config.samples`` answers to each problem.
        folder: receives ``answers.jsonl`` (one row per answer; answers that are there are not sampled again) and
            ``rates.jsonl`` (one row per problem: ``i``, ``key``, ``band``, ``passed``, ``samples``, ``rate``,
            ``ungraded``).
        config: how the answers are sampled.
        cluster: the machines that answer; ``None`` means this process.

    Raises:
        ConfigurationError: the folder holds answers to other problems.
        EngineError: the teacher failed.
    """

    def row(job: Job, result: RelayResult) -> Row:
        truncated = result.finish_reason in TRUNCATED
        correct = False if truncated else graded(task, result.text, job.problem)
        graded_answer = {"correct": correct, "truncated": truncated, "text": result.text, "seed": job.seed}
        return {**graded_answer, **cost.counted(result.usage)}

    file = JobFile(folder / "answers.jsonl", jobs)
    sampling: dict[str, Any] = {"temperature": config.temperature, "top_p": config.top_p, "top_k": None}
    rows = sampled_rows(file, teacher, row, label="filter", cluster=cluster, **sampling)
    grades: dict[int, list[bool | None]] = defaultdict(list)
    for answer in rows:
        grades[answer["i"]].append(answer["correct"])
    problems = {job.i: job.problem for job in jobs}
    rates = {i: passed.count(True) / max(1, len(passed) - passed.count(None)) for i, passed in grades.items()}
    if processes.is_main():
        write_rows(
            folder / "rates.jsonl",
            (
                {
                    "i": i, "key": problem.id, "band": problem.group, "passed": grades[i].count(True),
                    "samples": len(grades[i]), "rate": rates[i], "ungraded": grades[i].count(None),
                }
                for i, problem in problems.items()
            ),
        )  # fmt: skip
    return [rates[i] for i in problems]


def kept(problems: Sequence[Problem], rates: Sequence[float], keep: float) -> list[Problem]:
    """The problems whose pass rate is at least ``keep``.

    Raises:
        ConfigurationError: no problem is left.
    """
    left = [problem for problem, rate in zip(problems, rates, strict=True) if rate >= keep]
    if not left:
        raise ConfigurationError(
            f"the teacher passes none of {len(problems)} problems at a rate of {keep} or more (its best rate is "
            f"{max(rates, default=0):g}). With the same --out, which keeps the warm-up: lower filter.keep, or write "
            "--no-filter. With another --out: a better teacher, easier problems, or another task.grader"
        )
    return left
