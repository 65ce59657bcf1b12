"""benchmarks/plugins.py measures what it says; its figures depend on the machine and are not asserted here."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import plugins
from benchmarks.plugins_interfaces import all_interfaces
from relay_core import Relay, ScriptedEngine


async def test_every_interface_answers_every_round(scripted: Callable[..., ScriptedEngine]) -> None:
    student, teacher = scripted(["6 * 7 = <call>2</call>", "."], record=True), scripted("42")
    interfaces = all_interfaces(Relay(student, teacher))
    timings = await plugins.time_interfaces(interfaces, ["6 * 7?"] * 4, 2)
    assert all(len(t.wall_s) == len(t.cpu_s) == 2 for t in timings.values())  # the first round is not counted
    assert len(student.requests) == len(interfaces) * 4 * 3 * 2  # turns of an answer
    names = {"relay astream", "langchain abatch", "langchain astream", "llamaindex acomplete", "llamaindex astream"}
    assert set(plugins.overheads(timings)) == names


async def test_the_cost_of_a_token_stands_beside_the_frameworks_floor() -> None:
    result = await plugins.measure_on_scripts(argparse.Namespace(requests=2, rounds=1))
    assert result.pop("tokens") > 100
    assert result.pop("relay") > 0
    assert len(result) == 4
    assert all(cost["floor"] > 0 for cost in result.values())


async def test_interfaces_that_wrote_different_amounts_are_not_compared() -> None:
    async def whole(prompts: Any) -> list[str]:
        return ["x" * 100 for _ in prompts]

    async def shorter(prompts: Any) -> list[str]:
        return ["x" * 90 for _ in prompts]

    with pytest.raises(RuntimeError, match="different amounts"):
        await plugins.time_interfaces({"relay": whole, "plugin": shorter}, ["a"], 1)
