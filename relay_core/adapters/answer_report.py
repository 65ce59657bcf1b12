"""What both plugins say of an answer beside its text, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from relay_core.events import RelayResult


def report(result: RelayResult, spans: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is said of an answer beside its text; JSON.

    ``spans``: author, start and end, in characters of the message's text. ``cost``, ``saved`` (against the teacher
    alone for an answer of this length): ``None`` without prices. ``notes``: what the engines had to say, such as
    ``teacher_approximate``.
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
        "usage": result.usage.as_dict(),
        "spans": [dict(span) for span in spans],
    }
