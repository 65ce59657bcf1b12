"""benchmarks/plugins.py measures what it says; its figures are not asserted here, for they are the machine's."""

from __future__ import annotations

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
    relay = Relay(scripted(["6 * 7 = <call>2</call>", "."]), scripted("42"))
    ways = {**bench["relay_ways"](relay), **bench["langchain_ways"](relay)}
    timings = await bench["measure"](ways, [["6 * 7?"] * 4] * 3)
    assert all(len(t.wall) == len(t.cpu) == 2 for t in timings.values())  # the first round is not counted
    found = bench["overheads"](timings)
    assert set(found) == {"langchain abatch", "langchain astream"}


async def test_ways_that_wrote_different_amounts_are_not_compared(bench: dict[str, Any]) -> None:
    async def one(prompts: Any) -> list[str]:
        return ["x" * 100 for _ in prompts]

    async def other(prompts: Any) -> list[str]:
        return ["x" * 90 for _ in prompts]

    with pytest.raises(RuntimeError, match="different amounts"):
        await bench["measure"]({"relay": one, "plugin": other}, [["a"]] * 2)
