"""The methods that ``serving.py`` compares, each as a function from questions to timed answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from benchmarks.lockstep import Lockstep, ModelServer
from benchmarks.scheduled_calls import ScheduledCalls
from benchmarks.serving_figures import TimedAnswer
from benchmarks.serving_pairs import Pair, Question
from benchmarks.serving_servers import Servers
from benchmarks.serving_timing import time_alone, time_lockstep, time_relay
from relay_core import OpenAIEngine, Relay, RelaySettings
from relay_core.concurrency import map_concurrently
from relay_core.engines.base import Engine
from relay_core.keys import Role
from relay_core.tokenizer import Tokenizer

ALONE: tuple[Role, Role] = ("student", "teacher")
METHODS = (*ALONE, "relay", "warming", "lockstep")

#: answers all questions, so many at once
Method = Callable[[Sequence[Question], int], Awaitable[list[TimedAnswer]]]


@asynccontextmanager
async def open_methods(pair: Pair, servers: Servers, names: Collection[str]) -> AsyncIterator[dict[str, Method]]:
    """Connect to the servers; yields the methods by name, such as ``relay`` or ``relay +50 ms``.

    Args:
        pair: the models that the servers serve.
        servers: the relay and the lock-step loop are there once for each delay of the teacher.
        names: which of ``METHODS``.
    """
    async with AsyncExitStack() as stack:

        async def connect(role: Role, url: str, tokenizer: str | Tokenizer) -> OpenAIEngine:
            engine = OpenAIEngine(role, base_url=f"{url}/v1", tokenizer=tokenizer, mode="ids")
            stack.push_async_callback(engine.aclose)
            await engine.start()
            return engine

        student = await connect("student", servers.student, str(pair.student))
        teacher = await connect("teacher", servers.teacher, str(pair.teacher))
        assert student.tokenizer is not None and teacher.tokenizer is not None
        methods: dict[str, Method] = {
            role: alone(engine, role) for role, engine in zip(ALONE, (student, teacher), strict=True) if role in names
        }
        relay_student: Engine = student if pair.schedule is None else ScheduledCalls(student, pair.schedule)
        for delay_ms, url in servers.delayed_teachers.items():
            suffix = f" +{delay_ms} ms" if delay_ms else ""
            relay_teacher = await connect("teacher", url, teacher.tokenizer) if delay_ms else teacher
            relay = Relay(relay_student, relay_teacher, RelaySettings(on_teacher_stop="continue"))
            await relay.start()
            if "relay" in names:
                methods[f"relay{suffix}"] = relayed(relay, warming="off")
            if "warming" in names:
                methods[f"warming{suffix}"] = relayed(relay, warming="on")
            if "lockstep" in names:
                loop = Lockstep(
                    ModelServer(f"{servers.student}/v1", "student", student.tokenizer),
                    ModelServer(f"{url}/v1", "teacher", teacher.tokenizer),
                    pair.schedule,
                )
                stack.push_async_callback(loop.aclose)
                methods[f"lockstep{suffix}"] = in_batches(loop)
        yield methods


def alone(engine: Engine, role: Role) -> Method:
    """One model answers by itself; the next answer begins when one ends."""

    async def method(questions: Sequence[Question], at_once: int) -> list[TimedAnswer]:
        return await map_concurrently(lambda question: time_alone(engine, role, question), questions, limit=at_once)

    return method


def relayed(relay: Relay, *, warming: str) -> Method:
    """The relay answers; the next answer begins when one ends."""

    async def method(questions: Sequence[Question], at_once: int) -> list[TimedAnswer]:
        return await map_concurrently(
            lambda question: time_relay(relay, question, warming=warming), questions, limit=at_once
        )

    return method


def in_batches(loop: Lockstep) -> Method:
    """The lock-step loop answers batch by batch, as published."""

    async def method(questions: Sequence[Question], at_once: int) -> list[TimedAnswer]:
        answers: list[TimedAnswer] = []
        for start in range(0, len(questions), at_once):
            answers += await time_lockstep(loop, questions[start : start + at_once])
        return answers

    return method
