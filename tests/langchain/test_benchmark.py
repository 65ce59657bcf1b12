"""benchmarks/plugins.py measures what it says; its figures are not asserted here, for they are the machine's."""

from __future__ import annotations

import argparse
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relay_core import Relay, ScriptedEngine


@pytest.fixture
def bench() -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "plugins.py"))


async def test_every_way_answers_every_round(bench: dict[str, Any], scripted: Callable[..., ScriptedEngine]) -> None:
    student, teacher = scripted(["6 * 7 = <call>2</call>", "."], record=True), scripted("42")
    ways = bench["all_ways"](Relay(student, teacher))
    timings = await bench["measure"](ways, ["6 * 7?"] * 4, 2)
    assert all(len(t.wall) == len(t.cpu) == 2 for t in timings.values())  # the first round is not counted
    assert len(student.requests) == len(ways) * 4 * 3 * 2  # turns of an answer
    named = {"relay astream", "langchain abatch", "langchain astream", "llamaindex acomplete", "llamaindex astream"}
    assert set(bench["overheads"](timings)) == named


async def test_what_a_token_costs_is_told_beside_the_frameworks_floor(bench: dict[str, Any]) -> None:
    found = await bench["on_scripts"](argparse.Namespace(requests=2, rounds=1))
    assert found.pop("tokens") > 100
    assert found.pop("relay") > 0
    assert len(found) == 4
    assert all(cost["floor"] > 0 for cost in found.values())


async def test_ways_that_wrote_different_amounts_are_not_compared(bench: dict[str, Any]) -> None:
    async def one(prompts: Any) -> list[str]:
        return ["x" * 100 for _ in prompts]

    async def other(prompts: Any) -> list[str]:
        return ["x" * 90 for _ in prompts]

    with pytest.raises(RuntimeError, match="different amounts"):
        await bench["measure"]({"relay": one, "plugin": other}, ["a"], 1)
