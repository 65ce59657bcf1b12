"""What an answer cost, in Inspect's terms: the usage of the student and of the teacher, and their prices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay_core.keys import Role
from relay_core.settings import Prices
from relay_core.usage import Usage, sum_or_none

if TYPE_CHECKING:
    from inspect_ai.model import ModelCost, ModelUsage


def student_usage(usage: Usage) -> ModelUsage:
    """What the student read and wrote, discarded tokens included, since they are billed."""
    written = usage.student_tokens + usage.command_tokens + usage.discarded_tokens
    return _model_usage(usage.student_prompt_tokens, usage.student_cached_tokens, written)


def teacher_usage(usage: Usage) -> ModelUsage:
    """What the teacher read and wrote, wasted tokens included, since they are billed."""
    read = usage.teacher_prompt_tokens + usage.wasted_prompt_tokens
    cached = sum_or_none(usage.teacher_cached_tokens, usage.wasted_cached_tokens)
    return _model_usage(read, cached, usage.teacher_tokens + usage.wasted_tokens)


def both_usage(usage: Usage) -> ModelUsage:
    """What both models read and wrote. Cached tokens are ``None`` if one of the engines does not report them."""
    student, teacher = student_usage(usage), teacher_usage(usage)
    cached = sum_or_none(student.input_tokens_cache_read, teacher.input_tokens_cache_read)
    read = student.total_tokens + teacher.total_tokens - student.output_tokens - teacher.output_tokens
    return _model_usage(read, cached, student.output_tokens + teacher.output_tokens)


def _model_usage(read: int, cached: int | None, written: int) -> ModelUsage:
    from inspect_ai.model import ModelUsage

    return ModelUsage(
        input_tokens=read - (cached or 0),
        output_tokens=written,
        total_tokens=read + written,
        input_tokens_cache_read=cached,
    )


def cost_of(role: Role, prices: Prices | None) -> ModelCost | None:
    """Inspect's prices of one of the models; ``None`` without prices, and Inspect then looks for its own."""
    from inspect_ai.model import ModelCost

    if prices is None:
        return None
    read, written = getattr(prices, f"{role}_input"), getattr(prices, f"{role}_output")
    cached = getattr(prices, f"{role}_cached_input")
    return ModelCost(
        input=read, output=written, input_cache_write=read, input_cache_read=read if cached is None else cached
    )
