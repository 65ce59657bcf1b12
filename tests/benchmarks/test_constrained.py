"""The benchmark of constraints, on the bundled student."""

from __future__ import annotations

from benchmarks import constrained
from relay_core import bundled

STUDENT = str(bundled.path("student-relay"))


async def test_speeds_are_measured_in_turn() -> None:
    result = await constrained.measured(STUDENT, at_once=2, tokens=6, rounds=1)
    assert result["tokens_per_s"].keys() == {"free, no constraint yet", "free", "held", "mixed"}
    assert min(result["tokens_per_s"].values()) > 0
    assert result["held_to_free"] > 0


async def test_every_text_follows() -> None:
    assert await constrained.valid(STUDENT, 3) == {
        "of": 3,
        "valid": {"json_schema": 3, "regex": 3, "choice": 3, "tool_call": 3},
    }
