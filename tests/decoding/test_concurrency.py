import asyncio
import gc
import random
import sys
import threading
from contextlib import aclosing

import pytest

from relay_core import CallStarted, EngineError, Finish, Prompt, Relay, RelaySettings, ScriptedEngine, TextDelta
from relay_core.decoding.loop import Answer
from relay_core.engines.scripted import Delay
from relay_core.tokenizer import Tokenizer
from relay_core.transcript import Transcript


def number(prompt: Prompt) -> int:
    return int(prompt.messages[-1]["content"])


def student_turn(prompt: Prompt) -> str:
    n = number(prompt)
    calls = n % 4
    if prompt.turn < calls:
        return f"{n}.{prompt.turn} = <call>{5 + n % 3}</call>"
    return f"{n} is done."


def teacher_turn(prompt: Prompt) -> str:
    return f"[{number(prompt)}/{prompt.turn}]"


def pair(tokenizer: Tokenizer, **options) -> Relay:
    """A student that calls 0 to 3 times, and a teacher that knows whom it serves."""
    settings = RelaySettings(on_teacher_stop="continue")
    student = ScriptedEngine(student_turn, tokenizer, **options)
    return Relay(student, ScriptedEngine(teacher_turn, tokenizer, **options), settings)


async def census() -> tuple[int, int, int]:
    """Answers, transcripts and objects of any kind that are alive."""
    await asyncio.sleep(0)  # until a task waits again, what woke it holds the last batch
    gc.collect()
    kinds = [type(thing) for thing in gc.get_objects()]
    return kinds.count(Answer), kinds.count(Transcript), len(kinds)


async def test_a_thousand_answers_at_once(tiny: Tokenizer) -> None:
    relay = pair(tiny, chunk=4)
    await relay.abatch([str(n) for n in range(20)], max_call_tokens=50)  # what is cached once is cached now
    before, tasks = await census(), len(asyncio.all_tasks())
    results = await relay.abatch([str(n) for n in range(1000)], max_call_tokens=50)
    for n, r in enumerate(results):
        said = [f"{n}.{k} = " + tiny.decode(tiny.encode(f"[{n}/{k}]")[: 5 + n % 3]) for k in range(n % 4)]
        assert r.text == "".join(said) + f"{n} is done."
        assert r.usage.calls == n % 4
        assert r.usage.teacher_tokens == sum(c.received for c in r.calls)
    del results, r
    after = await census()
    assert after[:2] == before[:2]
    assert after[2] - before[2] < 500
    assert len(asyncio.all_tasks()) == tasks
    assert (relay.student.active, relay.teacher.active) == (0, 0)


async def test_no_answer_waits_for_the_teacher_of_another(tiny: Tokenizer) -> None:
    release = asyncio.Event()

    class Slow(ScriptedEngine):
        async def stream(self, prompt, sampling):
            if number(prompt) == 0:
                await release.wait()
            async with aclosing(super().stream(prompt, sampling)) as chunks:
                async for chunk in chunks:
                    yield chunk

    student = ScriptedEngine(["<call>3</call>", "done"], tiny)
    relay = Relay(student, Slow("abc", tiny), RelaySettings(on_teacher_stop="continue"))
    slow = asyncio.ensure_future(relay.agenerate("0"))
    others = await relay.abatch([str(n) for n in range(1, 50)])
    assert {r.text for r in others} == {tiny.decode(tiny.encode("abc")[:3]) + "done"}
    assert not slow.done()
    release.set()
    assert (await slow).text == others[0].text


@pytest.mark.parametrize("where", ["student", "teacher"])
async def test_closing_streams_early_cancels_the_engines(tiny: Tokenizer, where: str) -> None:
    student = ScriptedEngine([["a b", *([Delay(3600)] if where == "student" else []), "<call>9</call>"]], tiny)
    teacher = ScriptedEngine([["c d", Delay(3600)]], tiny)
    relay = Relay(student, teacher)
    engine = student if where == "student" else teacher
    streams = [relay.astream("Q") for _ in range(50)]
    for stream in streams:
        async for event in stream:
            if isinstance(event, TextDelta) and event.author == where:
                break
    assert engine.active == 50
    await asyncio.gather(*(stream.aclose() for stream in streams))
    assert (student.active, teacher.active) == (0, 0)


async def test_cancelling_tasks_cancels_the_engines(tiny: Tokenizer) -> None:
    student = ScriptedEngine([["a <call>9</call>"]], tiny)
    teacher = ScriptedEngine([["b", Delay(3600)]], tiny)
    relay = Relay(student, teacher)
    tasks = [asyncio.ensure_future(relay.agenerate("Q")) for _ in range(100)]
    while teacher.active < 100:
        await asyncio.sleep(0)
    dice = random.Random(0)
    dice.shuffle(tasks)
    for task in tasks[:60]:
        task.cancel()
    await asyncio.gather(*tasks[:60], return_exceptions=True)
    assert (student.active, teacher.active) == (0, 40)
    batch = asyncio.ensure_future(asyncio.gather(*tasks[60:]))
    batch.cancel()
    await asyncio.gather(batch, *tasks, return_exceptions=True)
    assert all(task.cancelled() for task in tasks)
    assert teacher.active == 0


async def test_one_failure_ends_a_batch_and_cancels_its_running_answers(tiny: Tokenizer) -> None:
    def turn(prompt: Prompt):
        return [EngineError("broken")] if number(prompt) == 7 else ["a", Delay(3600)]

    student = ScriptedEngine(turn, tiny)
    with pytest.raises(EngineError, match="student: broken"):
        await Relay(student, None).abatch([str(n) for n in range(20)])
    assert student.active == 0


async def test_return_exceptions_puts_failures_in_their_places(tiny: Tokenizer) -> None:
    def turn(prompt: Prompt):
        return [EngineError("broken")] if number(prompt) % 3 == 0 else "fine"

    results = await Relay(ScriptedEngine(turn, tiny), None).abatch([str(n) for n in range(9)], return_exceptions=True)
    assert [isinstance(r, EngineError) for r in results] == [n % 3 == 0 for n in range(9)]
    assert {r.text for r in results if not isinstance(r, EngineError)} == {"fine"}


@pytest.mark.parametrize("limit", [1, 7, None])
async def test_max_concurrency(tiny: Tokenizer, limit: int | None) -> None:
    seen = 0

    class Watched(ScriptedEngine):
        async def stream(self, prompt, sampling):
            nonlocal seen
            async with aclosing(super().stream(prompt, sampling)) as chunks:
                async for chunk in chunks:
                    seen = max(seen, self.active)
                    yield chunk

    results = await Relay(Watched("a b c d", tiny), None).abatch(["Q"] * 20, max_concurrency=limit)
    assert len(results) == 20
    assert seen == (limit or 20)
    assert await Relay(Watched("a", tiny), None).abatch([]) == []


def test_sync_faces_from_many_threads(tiny: Tokenizer) -> None:
    relay = pair(tiny)
    said: dict[int, str] = {}
    threads = [
        threading.Thread(target=lambda n=n: said.update({n: relay.generate(str(n), max_call_tokens=50).text}))
        for n in range(0, 64, 4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {n: f"{n} is done." for n in range(0, 64, 4)}
    assert [r.text for r in relay.batch(["0", "4", "8"])] == ["0 is done.", "4 is done.", "8 is done."]
    stream = relay.stream("1")
    assert any(isinstance(event, CallStarted) for event in stream)
    stream = relay.stream("1")
    next(stream)
    stream.close()
    assert (relay.student.active, relay.teacher.active) == (0, 0)


@pytest.mark.parametrize("said", ["a b c the answer is ", "a < b and c <call>x</call> then\n\n"])
def test_work_per_token_does_not_grow_with_the_answer(tiny: Tokenizer, said: str) -> None:
    ids, steps = tiny.encode(said), []
    for repeats in (10, 100):
        lines = 0

        def trace(frame, event, arg):
            nonlocal lines
            lines += event == "line"
            return trace if "relay_core" in frame.f_code.co_filename else None

        student = ScriptedEngine([[*(ids * repeats), Finish.LENGTH]], tiny)
        work = Relay(student, None).agenerate("Q", max_tokens=10_000)
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            asyncio.run(work)
        finally:
            sys.settrace(before)
        steps.append(lines)
    assert steps[1] < 12 * steps[0]
