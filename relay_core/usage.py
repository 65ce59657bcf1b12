"""What an answer used, and what it cost.

``None`` means that an engine does not say; it is never written as zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from relay_core.settings import Prices


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens and calls of one answer, or of many added up.

    ``prompt_tokens``: the user's prompt, in the student's tokens, once. ``student_prompt_tokens``: what the
    student read over all its turns, each turn reading the context again; ``student_cached_tokens``: how much of
    it came from a cache. ``student_tokens``, ``command_tokens``, ``teacher_tokens``: written, by author.
    ``teacher_prompt_tokens``, ``teacher_cached_tokens``: read by the teacher, over all calls.
    ``calls``: hand-overs made, failed ones included. ``refused_calls``: asked for, but a budget (or
    ``<call>0</call>``) forbade it. ``failed_calls``: the teacher failed. ``malformed_calls``: no number in it.

    Apart from all of these, what the teacher did in vain, as far as its engine knows: ``wasted_requests``, made for a
    command that came to nothing (warming) or beaten by another (hedging); ``wasted_prompt_tokens`` and
    ``wasted_cached_tokens``, read by them; ``wasted_tokens``, written by them, or by others beyond what was wanted.
    """

    prompt_tokens: int = 0
    student_tokens: int = 0
    command_tokens: int = 0
    teacher_tokens: int = 0
    teacher_prompt_tokens: int = 0
    teacher_cached_tokens: int | None = None
    student_prompt_tokens: int = 0
    student_cached_tokens: int | None = None
    calls: int = 0
    refused_calls: int = 0
    failed_calls: int = 0
    malformed_calls: int = 0
    wasted_requests: int = 0
    wasted_prompt_tokens: int = 0
    wasted_cached_tokens: int | None = 0
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
        """What the answer cost, in the currency of ``prices``: every prompt re-read included, and what was wasted."""
        return (
            _read(
                self.student_prompt_tokens,
                self.student_cached_tokens,
                prices.student_input,
                prices.student_cached_input,
            )
            + _read(
                self.teacher_prompt_tokens,
                self.teacher_cached_tokens,
                prices.teacher_input,
                prices.teacher_cached_input,
            )
            + _read(
                self.wasted_prompt_tokens,
                self.wasted_cached_tokens,
                prices.teacher_input,
                prices.teacher_cached_input,
            )
            + (self.student_tokens + self.command_tokens) * prices.student_output
            + (self.teacher_tokens + self.wasted_tokens) * prices.teacher_output
        ) / 1e6

    def cost_teacher_alone(self, prices: Prices) -> float:
        """What the teacher alone would have cost for an answer of this length: the prompt read once."""
        written = self.student_tokens + self.teacher_tokens
        return (self.prompt_tokens * prices.teacher_input + written * prices.teacher_output) / 1e6

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the fields and ``call_ratio``."""
        return {**{f.name: getattr(self, f.name) for f in fields(self)}, "call_ratio": self.call_ratio}


def sum_or_none(a: int | None, b: int | None) -> int | None:
    """``a + b``; ``None`` (not reported) where either of them is ``None``."""
    return None if a is None or b is None else a + b


def _read(tokens: int, cached: int | None, price: float, cached_price: float | None) -> float:
    cached = cached or 0
    return (tokens - cached) * price + cached * (price if cached_price is None else cached_price)
