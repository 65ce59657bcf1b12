"""The figures of a method over its answers to some prompts: score, call ratio, calls, tokens, time and cost.

Two costs are given. *Without caching*, every token that a request reads is paid in full. *With caching*, a token is
paid in full where an answer first reads it, and at the price of cached input afterwards. Both are computed from the
tokens that were read, and not from the hits that an engine reports: methods that answer the same prompts one after the
other find each other's prompts in the cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from relay_core.evaluate.answers import KeptAnswer
from relay_core.evaluate.intervals import Interval, bootstrap, wilson
from relay_core.settings import Prices
from relay_core.usage import Usage


@dataclass(frozen=True, slots=True)
class Scored:
    """One answer with its score, ``None`` if it could not be graded.

    ``teacher_prompt_tokens``: the length of the prompt for the teacher.
    """

    answer: KeptAnswer
    score: float | None
    teacher_prompt_tokens: int

    def cost(self, prices: Prices, *, caching: bool) -> float:
        """The cost of the answer; the head of this module says what caching means."""
        usage = self.answer.usage
        student_cached = teacher_cached = 0
        if caching:
            student_cached = _read_again(usage.student_prompt_tokens, usage.prompt_tokens, usage)
            teacher_cached = _read_again(usage.teacher_prompt_tokens, self.teacher_prompt_tokens, usage)
        counted = replace(usage, student_cached_tokens=student_cached, teacher_cached_tokens=teacher_cached)
        return counted.cost(prices)


def _read_again(read: int, prompt: int, usage: Usage) -> int:
    """How many of the tokens that one model read it had read before: all but the prompt and the answer."""
    return max(0, read - prompt - usage.completion_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A method's figures. Costs, calls, tokens and seconds are means per answer; intervals are at 95%.

    Args:
        prompts: the number of prompts.
        score, score_interval: the mean score, from 0 to 1, of the answers that could be graded.
        call_ratio, call_ratio_interval: teacher tokens divided by all tokens written.
        calls: calls made.
        called: the share of answers with a call.
        tokens: tokens written by both models.
        teacher_tokens: tokens written by the teacher.
        prompt_tokens: tokens read by both models, over all their requests.
        seconds: time from the question to the end of the answer, with other answers running beside it.
        cost, cost_cached: without and with caching.
        ungraded: how many answers could not be graded.
    """

    prompts: int
    score: float
    score_interval: Interval
    call_ratio: float
    call_ratio_interval: Interval
    calls: float
    called: float
    tokens: float
    teacher_tokens: float
    prompt_tokens: float
    seconds: float
    cost: float
    cost_cached: float
    ungraded: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def figures(answers: Sequence[Scored], prices: Prices, *, graded: bool) -> Figures:
    """The figures of some answers, of which there is at least one.

    Args:
        prices: prices per million tokens.
        graded: whether every score is 0 or 1.
    """
    n = len(answers)
    usages = [scored.answer.usage for scored in answers]
    scores = [scored.score for scored in answers if scored.score is not None]
    counts = [(usage.teacher_tokens, usage.completion_tokens) for usage in usages]
    total = Usage.total(usages)
    return Figures(
        prompts=n,
        score=_mean(scores),
        score_interval=wilson(sum(scores), len(scores)) if graded else bootstrap(scores, _mean),
        call_ratio=total.call_ratio,
        call_ratio_interval=bootstrap(counts, _ratio),
        calls=total.calls / n,
        called=sum(usage.calls > 0 for usage in usages) / n,
        tokens=total.completion_tokens / n,
        teacher_tokens=total.teacher_tokens / n,
        prompt_tokens=(total.student_prompt_tokens + total.teacher_prompt_tokens) / n,
        seconds=sum(scored.answer.seconds for scored in answers) / n,
        cost=sum(scored.cost(prices, caching=False) for scored in answers) / n,
        cost_cached=sum(scored.cost(prices, caching=True) for scored in answers) / n,
        ungraded=n - len(scores),
    )


def ungraded_line(figures: Mapping[str, Figures]) -> list[str]:
    """A line for a report: how many answers of each method could not be graded; empty if all could."""
    counts = [f"{name} {f.ungraded}" for name, f in figures.items() if f.ungraded]
    return [f"not graded, and in no score: {', '.join(counts)}"] if counts else []


def routed_share(call_ratio: float, student_tokens: float, teacher_tokens: float) -> float:
    """The share of prompts that a router must send whole to the teacher for a call ratio.

    If r is the call ratio and S and T the tokens of an answer by student and teacher, it is the share q with
    q T / (q T + (1 - q) S) = r.
    """
    r = call_ratio
    return r * student_tokens / max(1e-9, r * student_tokens + (1 - r) * teacher_tokens)


def router_score(student: Figures, teacher: Figures, call_ratio: float) -> float:
    """The score of a router that draws the prompts for the teacher at random (:func:`routed_share`)."""
    sent = routed_share(call_ratio, student.tokens, teacher.tokens)
    return student.score + sent * (teacher.score - student.score)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))


def _ratio(counts: Sequence[tuple[int, int]]) -> float:
    return sum(teacher for teacher, _ in counts) / max(1, sum(written for _, written in counts))
