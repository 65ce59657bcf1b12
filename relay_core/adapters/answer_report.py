"""The report that both plugins add to an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from relay_core.adapters.cut_answers import cut_by
from relay_core.events import RelayResult
from relay_core.settings import RelaySettings
from relay_core.usage import Usage


def report(result: RelayResult, spans: Sequence[Mapping[str, Any]], settings: RelaySettings) -> dict[str, Any]:
    """The report on an answer, as JSON values.

    ``saved`` is the cost of an answer of this length by the teacher alone, minus the cost of this answer. ``cost`` and
    ``saved`` are ``None`` if no prices are set. ``notes`` holds the engines' notes, such as ``teacher_approximate``.
    ``cut_by`` is the limit that ended the answer, such as ``"max_tokens=60"``, or ``None``.

    Args:
        spans: author, start and end of each run of characters, as offsets in the message's text.
        settings: the settings of the answer.
    """
    alone, cost = result.cost_teacher_alone, result.cost
    return {
        "call_ratio": result.usage.call_ratio,
        "calls": result.usage.calls,
        "failures": result.failures,
        "notes": {name: value for name, value in result.notes.items() if name != "answer"},
        "cost": cost,
        "saved": None if alone is None or cost is None else alone - cost,
        "finish_reason": str(result.finish_reason),
        "cut_by": cut_by(result, settings),
        "usage": result.usage.as_dict(),
        "spans": [dict(span) for span in spans],
    }


def input_tokens(usage: Usage) -> int:
    """The tokens that the frameworks count as input: the prompt once, and all tokens that the teacher read in its
    calls."""
    return usage.prompt_tokens + usage.teacher_prompt_tokens
