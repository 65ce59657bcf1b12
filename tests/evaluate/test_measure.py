import asyncio

import pytest

from relay_core import EngineError, Prices, Relay, RelaySettings, ScriptedEngine
from relay_core.bundled import task
from relay_core.evaluate.comparison import Comparison
from relay_core.evaluate.measure import as_teacher, measure
from testing.graders import none_of_it
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


async def test_an_answer_that_cannot_be_graded_is_counted_and_not_wrong(qwen3, caplog):
    problems = [problem(question, 5, "easy") for question in ("is 5", "is 6", "is ?")]
    alone = Relay(ScriptedEngine(lambda prompt: prompt.messages[-1]["content"], qwen3), None)
    seen = []
    m = await measure(alone, FixedTask(problems, none_of_it), problems, on_answer=seen.append)
    assert (m.problems, m.accuracy, m.bands, m.ungraded) == (3, 0.5, {"easy": 0.5}, 1)
    assert {a.problem.id: a.correct for a in seen} == {"is 5": True, "is 6": False, "is ?": None}
    assert "an answer to problem is ? was not graded: too long" in caplog.text
    table = Comparison({"student": m}, {"student": "student alone"}, 1.0).text()
    assert "Not graded, and in no share of right answers: student alone 1." in table and m.as_dict()["ungraded"] == 1


async def test_the_teacher_alone_does_not_gain_by_what_the_relay_left_in_its_cache():
    problems = task.problems(6, split="test", seed=3)
    with Relay("bundled:student-relay", "bundled:teacher", RelaySettings(max_tokens=100)) as pair:
        assert pair.teacher is not None
        alone = Relay(pair.teacher, None)

        async def cached() -> int | None:
            options = {"max_tokens": 20, "max_concurrency": 1, "written_by": "teacher"}
            return (await measure(alone, task.BundledTask(), problems, **options)).usage.teacher_cached_tokens

        first = await cached()
        await measure(pair, task.BundledTask(), problems, max_concurrency=1)
        assert await cached() == first
