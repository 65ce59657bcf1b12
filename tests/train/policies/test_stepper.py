"""The thread that steps vLLM, on a scripted ``LLMEngine``: requests come and go, and no reader waits forever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from relay_core import EngineError
from relay_core.train.policies.stepper import Reader, Stepper


class ScriptedLLM:
    """As vLLM's ``LLMEngine``: each step gives every request one token, until it has ``max_tokens``."""

    def __init__(self) -> None:
        self.requests: dict[str, int] = {}
        self.threads: set[int] = set()
        self.batches: list[int] = []
        self.broken: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def has_unfinished_requests(self) -> bool:
        return bool(self.requests)

    def add_request(self, request_id: str, prompt: Any, params: Any) -> None:
        self.threads.add(threading.get_ident())
        if params is None or not prompt["prompt_token_ids"]:
            raise ValueError("an empty prompt")
        self.requests[request_id] = params

    def abort_request(self, request_ids: list[str]) -> None:
        self.threads.add(threading.get_ident())
        for request_id in request_ids:
            self.requests.pop(request_id, None)

    def step(self) -> list[Any]:
        self.gate.wait(10)
        self.threads.add(threading.get_ident())
        if self.broken is not None:
            raise self.broken
        self.batches.append(len(self.requests))
        outputs = []
        for request_id in list(self.requests):
            self.requests[request_id] -= 1
            finished = self.requests[request_id] <= 0
            if finished:
                del self.requests[request_id]
            outputs.append(SimpleNamespace(request_id=request_id, finished=finished))
        return outputs


@pytest.fixture
def llm() -> ScriptedLLM:
    return ScriptedLLM()


@pytest.fixture
def stepper(llm: ScriptedLLM) -> Iterator[Stepper]:
    made = Stepper(llm)  # type: ignore[arg-type]
    yield made
    llm.gate.set()
    made.stop()
    assert not made._thread.is_alive()


async def read(reader: Reader) -> int:
    count = 0
    while not reader.is_over:
        await asyncio.wait_for(reader.next(), 10)
        count += 1
    return count


async def test_requests_share_steps_on_one_thread(llm: ScriptedLLM, stepper: Stepper) -> None:
    llm.gate.clear()
    readers = [Reader() for _ in range(5)]
    for n, reader in enumerate(readers, 1):
        stepper.begin(reader, [1], n)  # type: ignore[arg-type]
    llm.gate.set()
    assert await asyncio.gather(*map(read, readers)) == [1, 2, 3, 4, 5]
    assert max(llm.batches) >= 4
    assert len(llm.threads) == 1 and threading.get_ident() not in llm.threads


async def test_a_request_that_is_ended_gets_no_more(llm: ScriptedLLM, stepper: Stepper) -> None:
    reader, other = Reader(), Reader()
    stepper.begin(reader, [1], 10**6)  # type: ignore[arg-type]
    await asyncio.wait_for(reader.next(), 10)
    stepper.end(reader)
    stepper.begin(other, [1], 3)  # type: ignore[arg-type]
    assert await read(other) == 3
    assert reader.id not in llm.requests


async def test_a_request_that_vllm_refuses_fails_alone(stepper: Stepper) -> None:
    refused, other = Reader(), Reader()
    stepper.begin(refused, [], 3)  # type: ignore[arg-type]
    stepper.begin(other, [1], 3)  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="ValueError: an empty prompt"):
        await read(refused)
    assert await read(other) == 3


async def test_a_step_that_fails_ends_every_request_and_later_ones(llm: ScriptedLLM, stepper: Stepper) -> None:
    readers = [Reader() for _ in range(3)]
    for reader in readers:
        stepper.begin(reader, [1], 10**6)  # type: ignore[arg-type]
    await asyncio.wait_for(readers[0].next(), 10)
    llm.broken = RuntimeError("out of memory")
    for reader in readers:
        with pytest.raises(EngineError, match="RuntimeError: out of memory"):
            await read(reader)
    stepper._thread.join(10)
    with pytest.raises(EngineError, match="vLLM has stopped: out of memory"):
        stepper.begin(Reader(), [1], 1)  # type: ignore[arg-type]


async def test_stopping_ends_what_still_runs(llm: ScriptedLLM, stepper: Stepper) -> None:
    reader = Reader()
    stepper.begin(reader, [1], 10**6)  # type: ignore[arg-type]
    await asyncio.wait_for(reader.next(), 10)
    await asyncio.to_thread(stepper.stop)
    with pytest.raises(EngineError, match="the rollout is over"):
        await read(reader)
    assert not llm.requests
