"""The figures of one method on one benchmark, from its records.

Three costs are given. *Read and written*: every token that a request reads or writes is paid in full. *Cached*: a token
is paid in full where an answer first reads it, and at the price of cached input afterwards; it is computed from the
tokens that were read, and not from the hits that an engine reports, because methods that answer the same prompts one
after the other find each other's prompts in its cache. *Written only*: the paper's, in which reading costs nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from relay_core.evaluate.records import Record, Status
from relay_core.evaluate.report.resampling import Estimate, Resampling, ratio
from relay_core.settings import Prices
from relay_core.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodFigures:
    """A method's figures; shares are between 0 and 1, costs in the currency of the prices.

    ``answers``: graded answers. ``accuracy``: the share of right ones. ``call_ratio``: teacher tokens divided by all
    tokens. ``calls``, ``tokens``, ``teacher_tokens``, ``read``, ``seconds``: per answer; ``read`` are the tokens that
    the teacher read. ``called``: the share of answers with a call. ``requested``, ``received``: tokens of a call.
    ``tokens_per_s``: of both models, with the run's concurrency; ``None`` if this run answered nothing.
    ``truncated``, ``unanswered``: shares of the answers; ``ungraded``: a number of answers, which are in no accuracy.
    ``cost``, ``cost_cached``, ``cost_written``: of one answer. ``groups``: accuracy and share of answers with a call in
    each group of problems.
    """

    method: str
    label: str
    curve: str
    answers: int
    accuracy: Estimate
    call_ratio: Estimate
    calls: float
    called: float
    requested: float | None
    received: float | None
    tokens: float
    teacher_tokens: float
    read: float
    seconds: float
    tokens_per_s: float | None
    truncated: float
    unanswered: float
    ungraded: int
    cost: Estimate
    cost_cached: float
    cost_written: float
    groups: Mapping[str, tuple[float, float]]


class Answers:
    """The records of one method on one benchmark, summed for each problem.

    Args:
        records: in the order of problems and samples.
        prices: prices per million tokens.
        teacher_prompts: the tokens of each problem's prompt for the teacher, for the cost with caching.
        problems: all problems of the benchmark with their clusters (:func:`clusters_of`), which the method may have
            answered in part; by default, those of the records.
    """

    def __init__(
        self,
        records: Sequence[Record],
        prices: Prices,
        teacher_prompts: Mapping[str, int],
        problems: Mapping[str, str] | None = None,
    ) -> None:
        self.records, self.prices, self._teacher_prompts = records, prices, teacher_prompts
        self.problems = clusters_of(records) if problems is None else problems
        by_problem: dict[str, list[Record]] = {problem: [] for problem in self.problems}
        for record in records:
            by_problem[record.problem].append(record)
        rows = by_problem.values()
        self.right = [float(sum(r.is_right for r in row)) for row in rows]
        self.graded = [float(sum(r.status is not Status.UNGRADED for r in row)) for row in rows]
        self.count = [float(len(row)) for row in rows]
        self.teacher = [float(sum(r.outcome.usage.teacher_tokens for r in row)) for row in rows]
        self.written = [float(sum(r.outcome.usage.completion_tokens for r in row)) for row in rows]
        self.cost = [sum(cost(r.outcome.usage, prices) for r in row) for row in rows]
        self.cached = [
            sum(cost_cached(r.outcome.usage, prices, teacher_prompts.get(r.problem)) for r in row) for row in rows
        ]

    def among(self, other: Answers) -> Answers:
        """The answers to problems that the other method answered, too; both have the same ``problems``."""
        if all(other.count):
            return self
        shared = {problem for problem, n in zip(other.problems, other.count, strict=True) if n}
        records = [record for record in self.records if record.problem in shared]
        return Answers(records, self.prices, self._teacher_prompts, self.problems)

    def figures(self, resampling: Resampling, tokens_per_s: float | None) -> MethodFigures:
        """All figures."""
        records, n = self.records, len(self.records)
        total = Usage.total(record.outcome.usage for record in records)
        calls = [call for record in records for call in record.outcome.calls]
        first = records[0]
        return MethodFigures(
            method=first.method,
            label=first.label,
            curve=first.curve,
            answers=int(sum(self.graded)),
            accuracy=resampling.estimate([self.right, self.graded], ratio),
            call_ratio=resampling.estimate([self.teacher, self.written], ratio),
            calls=total.calls / n,
            called=sum(record.outcome.usage.calls > 0 for record in records) / n,
            requested=_mean([call.requested for call in calls]),
            received=_mean([call.received for call in calls]),
            tokens=total.completion_tokens / n,
            teacher_tokens=total.teacher_tokens / n,
            read=total.teacher_prompt_tokens / n,
            seconds=sum(record.outcome.seconds for record in records) / n,
            tokens_per_s=tokens_per_s,
            truncated=_share(records, Status.TRUNCATED),
            unanswered=_share(records, Status.UNANSWERED),
            ungraded=sum(record.status is Status.UNGRADED for record in records),
            cost=resampling.estimate([self.cost, self.count], ratio),
            cost_cached=sum(self.cached) / n,
            cost_written=sum(cost_written(record.outcome.usage, self.prices) for record in records) / n,
            groups=_groups(records),
        )


def clusters_of(records: Iterable[Record]) -> dict[str, str]:
    """The problems that were answered, in the order in which they come, with the cluster of each."""
    return {record.problem: record.cluster for record in records}


def cost(usage: Usage, prices: Prices) -> float:
    """The cost of everything that was read and written, without caching."""
    return replace(usage, teacher_cached_tokens=0, student_cached_tokens=0, wasted_cached_tokens=0).cost(prices)


def cost_cached(usage: Usage, prices: Prices, teacher_prompt: int | None) -> float:
    """The cost if each model pays in full only for what it reads for the first time.

    Args:
        teacher_prompt: the tokens of the prompt for the teacher; ``None`` takes those for the student.
    """
    prompt = usage.prompt_tokens if teacher_prompt is None else teacher_prompt
    student = max(0, usage.student_prompt_tokens - usage.prompt_tokens - usage.completion_tokens)
    teacher = max(0, usage.teacher_prompt_tokens - prompt - usage.completion_tokens)
    return replace(usage, student_cached_tokens=student, teacher_cached_tokens=teacher, wasted_cached_tokens=0).cost(
        prices
    )


def cost_written(usage: Usage, prices: Prices) -> float:
    """The cost of the tokens that were written, used or not."""
    student = usage.student_tokens + usage.command_tokens + usage.discarded_tokens
    return (
        student * prices.student_output + (usage.teacher_tokens + usage.wasted_tokens) * prices.teacher_output
    ) / 1e6


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _share(records: Sequence[Record], status: Status) -> float:
    return sum(record.status is status for record in records) / len(records)


def _groups(records: Sequence[Record]) -> dict[str, tuple[float, float]]:
    """The accuracy and the share of answers with a call, in the order in which groups come."""
    by_group: dict[str, list[Any]] = defaultdict(list)
    for record in records:
        if record.group:
            by_group[record.group].append(record)
    groups = {}
    for group, rows in by_group.items():
        graded = [row for row in rows if row.status is not Status.UNGRADED]
        accuracy = sum(row.is_right for row in graded) / max(1, len(graded))
        groups[group] = (accuracy, sum(row.outcome.usage.calls > 0 for row in rows) / len(rows))
    return groups
