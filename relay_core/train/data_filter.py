"""The data filter: keep the problems that the teacher can answer (paper, section 3.4).

The teacher answers each problem several times; a problem stays where its pass rate reaches a bound. Without it the
student learns to call where no call can help.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from relay_core import portal
from relay_core.concurrency import map_concurrently
from relay_core.errors import ConfigurationError
from relay_core.evaluate.measure import Problem
from relay_core.relay import Relay
from relay_core.train.progress import Progress
from relay_core.train.recipe import Filter
from relay_core.train.store import Journal

P = TypeVar("P", bound=Problem)


def pass_rates(
    teacher: Relay,
    problems: Sequence[P],
    journal: Journal,
    config: Filter,
    *,
    key: Callable[[P], str],
    grade: Callable[[str, Any], bool],
    limit: int = 128,
) -> list[float]:
    """The teacher's pass rate on every problem.

    Args:
        teacher: a relay whose student is the teacher's engine, without a teacher of its own.
        journal: one row a problem (``i``, ``key``, ``band``, ``passed``, ``samples``, ``rate``), written as it is
            known; problems that it has are not asked again.
        key: a problem's name, to see that the journal belongs to these problems.
        limit: answers at a time.

    Raises:
        ConfigurationError: the journal was made with other problems or another number of samples.
    """
    rates: dict[int, float] = {}
    for row in journal.rows:
        i = row["i"]
        if i >= len(problems) or row["key"] != key(problems[i]) or row["samples"] != config.samples:
            raise ConfigurationError(
                f"{journal.path} holds pass rates of other problems: give another --out, or delete it"
            )
        rates[i] = row["rate"]

    passed: dict[int, list[bool]] = {}

    async def run() -> None:
        with Progress("filter", len(problems), done=len(rates)) as progress:

            async def one(job: tuple[int, int]) -> None:
                i, _ = job
                problem = problems[i]
                result = await teacher.agenerate(
                    [dict(m) for m in problem.messages],
                    temperature=config.temperature,
                    top_p=config.top_p,
                    calls=False,
                )
                so_far = passed.setdefault(i, [])
                so_far.append(grade(result.text, problem.answer))
                if len(so_far) == config.samples:
                    rates[i] = sum(so_far) / len(so_far)
                    row = {"i": i, "key": key(problem), "band": problem.band, "passed": sum(so_far)}
                    journal.append({**row, "samples": len(so_far), "rate": rates[i]})
                    progress.step()

            jobs = [(i, k) for i in range(len(problems)) if i not in rates for k in range(config.samples)]
            await map_concurrently(one, jobs, limit=limit)

    if len(rates) < len(problems):
        portal.run(run)
    return [rates[i] for i in range(len(problems))]


def kept(problems: Sequence[P], rates: Sequence[float], keep: float) -> list[P]:
    """The problems whose pass rate is at least ``keep``.

    Raises:
        ConfigurationError: none is left.
    """
    left = [p for p, rate in zip(problems, rates, strict=True) if rate >= keep]
    if not left:
        raise ConfigurationError(
            f"the teacher passes none of {len(problems)} problems at a rate of {keep} or more: choose a better "
            "teacher, easier problems, or a lower filter.keep"
        )
    return left
