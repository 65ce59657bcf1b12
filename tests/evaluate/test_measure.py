import asyncio

import pytest

from relay_core import EngineError, Prices, Relay, RelaySettings, ScriptedEngine
from relay_core.evaluate.measure import as_teacher, measure
from testing.tasks import FixedTask, problem

PROBLEMS = [problem("medium", 282, "medium"), problem("easy", 5, "easy"), problem("medium", 7, "medium")]
TASK = FixedTask(PROBLEMS)


def student_script(prompt):
    if prompt.messages[-1]["content"] == "easy":
        return "\\boxed{5}"
    return "\\boxed{<call>3</call>" if "282" not in prompt.continuation else "}"


def relay(qwen3, **settings) -> Relay:
    student = ScriptedEngine(student_script, qwen3)
    return Relay(student, ScriptedEngine("282", qwen3), RelaySettings(on_teacher_stop="continue", **settings))


async def test_figures_by_band(qwen3):
    seen = []
    m = await measure(relay(qwen3), TASK, PROBLEMS, on_answer=seen.append)
    assert m.problems == len(seen) == 3
    assert m.accuracy == pytest.approx(2 / 3)
    assert m.bands == {"easy": 1.0, "medium": 0.5}
    assert m.called == {"easy": 0.0, "medium": 1.0}
    assert m.calls == pytest.approx(2 / 3)
    assert m.requested == 3
    assert m.call_ratio == m.usage.teacher_tokens / m.usage.completion_tokens > 0
    assert m.cost is None
    assert list(m.bands) == ["easy", "medium"]
    assert m.as_dict()["usage"]["calls"] == 2


async def test_groups_come_in_the_tasks_order_and_a_task_may_have_none(qwen3):
    backwards = FixedTask(PROBLEMS, groups=("medium", "easy"))
    assert list((await measure(relay(qwen3), backwards, PROBLEMS)).bands) == ["medium", "easy"]
    unnamed = FixedTask(PROBLEMS, groups=("easy",))
    assert list((await measure(relay(qwen3), unnamed, PROBLEMS)).bands) == ["easy", "medium"]
    without = [problem("easy", 5)]
    m = await measure(relay(qwen3), FixedTask(without, groups=()), without)
    assert (m.accuracy, m.bands, m.called) == (1.0, {}, {})


async def test_student_alone_makes_no_call(qwen3):
    engine = ScriptedEngine("\\boxed{5}", qwen3)
    m = await measure(Relay(engine, ScriptedEngine("282", qwen3)), TASK, PROBLEMS, calls=False)
    assert m.call_ratio == 0 and m.calls == 0 and m.bands == {"easy": 1.0, "medium": 0.0}


async def test_teacher_alone_is_priced_as_the_teacher(qwen3):
    prices = Prices(student_output=1.0, teacher_output=1e6)
    engine = ScriptedEngine("\\boxed{282}", qwen3)
    m = await measure(Relay(engine, None, RelaySettings(prices=prices)), TASK, PROBLEMS, written_by="teacher")
    assert m.call_ratio == 1.0
    assert m.usage.student_tokens == 0
    assert m.cost == pytest.approx(m.usage.teacher_tokens)
    assert as_teacher(m.usage).teacher_tokens == m.usage.teacher_tokens


async def test_a_failed_engine_is_an_error_not_an_answer(qwen3):
    engine = ScriptedEngine([[EngineError("gone")]], qwen3)
    with pytest.raises(EngineError, match="gone"):
        await asyncio.wait_for(measure(Relay(engine, None), TASK, PROBLEMS), 10)
