"""The tokens and calls that an answer used, and their cost.

``None`` means that an engine does not report a count; it is never written as zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from relay_core.settings import Prices


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens and calls of one answer, or the sum over many answers.

    The ``wasted_`` counts are not part of the other counts. They count the unused work that the teacher's engine
    reports; ``discarded_tokens`` counts the unused tokens of the student.
    """

    #: the user's prompt, in the student's tokens, counted once
    prompt_tokens: int = 0
    #: ordinary tokens that the student wrote
    student_tokens: int = 0
    #: tokens of the student's commands
    command_tokens: int = 0
    #: tokens that the teacher wrote
    teacher_tokens: int = 0
    #: tokens that the teacher read, over all calls; each call reads the context again
    teacher_prompt_tokens: int = 0
    #: the tokens among ``teacher_prompt_tokens`` that came from a cache
    teacher_cached_tokens: int | None = None
    #: tokens that the student read, over all its turns; each turn reads the context again
    student_prompt_tokens: int = 0
    #: the tokens among ``student_prompt_tokens`` that came from a cache
    student_cached_tokens: int | None = None
    #: calls made, failed ones included
    calls: int = 0
    #: commands that opened no call, because of a budget or of ``calls=False``, or because they requested 0 tokens
    refused_calls: int = 0
    #: calls in which the teacher failed
    failed_calls: int = 0
    #: commands without a valid number, and parts of commands
    malformed_calls: int = 0
    #: tokens that the student wrote from the place where a trigger opened a call, the doubtful token included; they are
    #: not part of the other counts
    discarded_tokens: int = 0
    #: requests of which no token was used: sent early for a command that opened no call (warming), or slower than
    #: another request for the same tokens (hedging)
    wasted_requests: int = 0
    #: tokens that the wasted requests read
    wasted_prompt_tokens: int = 0
    #: the tokens among ``wasted_prompt_tokens`` that came from a cache
    wasted_cached_tokens: int | None = 0
    #: tokens that the wasted requests wrote, and unused tokens of other requests
    wasted_tokens: int = 0

    @property
    def completion_tokens(self) -> int:
        """All tokens written: student, command and teacher."""
        return self.student_tokens + self.command_tokens + self.teacher_tokens

    @property
    def call_ratio(self) -> float:
        """teacher tokens / (student + command + teacher tokens); the paper's rho."""
        return self.teacher_tokens / self.completion_tokens if self.completion_tokens else 0.0

    def __add__(self, other: Usage) -> Usage:
        sums: dict[str, Any] = {
            f.name: sum_or_none(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)
        }
        return Usage(**sums)

    @classmethod
    def total(cls, usages: Iterable[Usage]) -> Usage:
        """The sum over several answers."""
        result: Usage | None = None
        for usage in usages:
            result = usage if result is None else result + usage
        return result if result is not None else cls()

    def cost(self, prices: Prices) -> float:
        """The cost in the currency of ``prices``, including wasted tokens and prompts that were read again."""
        return (
            _input_cost(
                self.student_prompt_tokens,
                self.student_cached_tokens,
                prices.student_input,
                prices.student_cached_input,
            )
            + _input_cost(
                self.teacher_prompt_tokens,
                self.teacher_cached_tokens,
                prices.teacher_input,
                prices.teacher_cached_input,
            )
            + _input_cost(
                self.wasted_prompt_tokens,
                self.wasted_cached_tokens,
                prices.teacher_input,
                prices.teacher_cached_input,
            )
            + (self.student_tokens + self.command_tokens + self.discarded_tokens) * prices.student_output
            + (self.teacher_tokens + self.wasted_tokens) * prices.teacher_output
        ) / 1e6

    def cost_teacher_alone(self, prices: Prices) -> float:
        """The cost if the teacher alone had read the prompt once and written an answer of this length."""
        written = self.student_tokens + self.teacher_tokens
        return (self.prompt_tokens * prices.teacher_input + written * prices.teacher_output) / 1e6

    def as_dict(self) -> dict[str, Any]:
        """The fields and ``call_ratio``, for JSON."""
        return {**{f.name: getattr(self, f.name) for f in fields(self)}, "call_ratio": self.call_ratio}


def sum_or_none(a: int | None, b: int | None) -> int | None:
    """``a + b``; ``None`` (not reported) if ``a`` or ``b`` is ``None``."""
    return None if a is None or b is None else a + b


def _input_cost(tokens: int, cached: int | None, price: float, cached_price: float | None) -> float:
    """The cost of reading ``tokens``, of which ``cached`` came from a cache; prices per token."""
    cached = min(cached or 0, tokens)
    return (tokens - cached) * price + cached * (price if cached_price is None else cached_price)
