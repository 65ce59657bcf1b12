"""The data filter: keep the problems that the teacher can answer (paper, section 3.4).

The teacher answers each problem several times, and a problem is kept if its pass rate reaches a bound. On problems that
the teacher cannot answer, the student would learn to call without any gain.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from relay_core.errors import ConfigurationError
from relay_core.evaluate.store import Journal
from relay_core.evaluate.task import Problem, Task
from relay_core.events import RelayResult
from relay_core.relay import Relay
from relay_core.train.recipe import Filter
from relay_core.train.sampling import answer_all


def pass_rates(
    teacher: Relay, task: Task, problems: Sequence[Problem], journal: Journal, config: Filter, *, limit: int = 128
) -> list[float]:
    """The teacher's pass rate on every problem.

    Args:
        teacher: a relay whose student engine is the teacher, and which has no teacher to call.
        task: grades the answers.
        problems: problems of the task.
        journal: receives one row per problem (``i``, ``key``, ``band``, ``passed``, ``samples``, ``rate``) when all its
            answers are graded. Problems that are already in the journal are not answered again.
        config: the number of samples, and how they are sampled.
        limit: how many answers run at a time.

    Raises:
        ConfigurationError: the journal was made with other problems or another number of samples.
        EngineError: the teacher failed.
    """
    rates = _known_rates(journal, problems, config)
    grades: dict[int, list[bool]] = defaultdict(list)

    def count(i: int, result: RelayResult) -> bool:
        problem = problems[i]
        grades[i].append(task.grade(result.text, problem))
        if len(grades[i]) < config.samples:
            return False
        passed = sum(grades[i])
        rates[i] = passed / config.samples
        row = {"i": i, "key": problem.id, "band": problem.group, "passed": passed}
        journal.append({**row, "samples": config.samples, "rate": rates[i]})
        return True

    jobs = [(i, problem) for i, problem in enumerate(problems) if i not in rates for _ in range(config.samples)]
    answer_all(
        teacher,
        jobs,
        count,
        label="filter",
        total=len(problems),
        done=len(rates),
        limit=limit,
        temperature=config.temperature,
        top_p=config.top_p,
    )
    return [rates[i] for i in range(len(problems))]


def _known_rates(journal: Journal, problems: Sequence[Problem], config: Filter) -> dict[int, float]:
    """The pass rates that the journal holds, by the index of the problem."""
    rates: dict[int, float] = {}
    for row in journal.rows:
        i = row["i"]
        if i >= len(problems) or row["key"] != problems[i].id or row["samples"] != config.samples:
            raise ConfigurationError(
                f"{journal.path} holds pass rates of other problems: choose another --out, or delete the file"
            )
        rates[i] = row["rate"]
    return rates


def kept(problems: Sequence[Problem], rates: Sequence[float], keep: float) -> list[Problem]:
    """The problems whose pass rate is at least ``keep``.

    Raises:
        ConfigurationError: no problem is left.
    """
    left = [problem for problem, rate in zip(problems, rates, strict=True) if rate >= keep]
    if not left:
        raise ConfigurationError(
            f"the teacher passes none of {len(problems)} problems at a rate of {keep} or more: choose a better "
            "teacher, easier problems, or a lower filter.keep"
        )
    return left
