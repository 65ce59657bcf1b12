"""benchmarks/serving.py: its lock-step loop, its arithmetic, its command line; on a real HTTP server with a script.

test_real_servers.py runs the whole of it on real vLLM servers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import serving
from benchmarks.lockstep import Lockstep, LockstepAnswer, ModelServer
from benchmarks.serving_figures import Handover, MethodRun, TimedAnswer, figures
from benchmarks.serving_pairs import Question
from benchmarks.serving_timing import time_alone, time_lockstep, time_relay
from relay_core import OpenAIEngine, Relay, RelaySettings, bundled
from relay_core.tokenizer import Tokenizer
from testing.scripted_server import CALLS, answer
from testing.servers import scripted_server


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scripted pair behind HTTP."""
    with scripted_server(tmp_path_factory.mktemp("scripted") / "log") as url:
        yield url


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer.load(bundled.path("teacher"))


@pytest.fixture
async def engines(url: str, tokenizer: Tokenizer) -> AsyncIterator[list[OpenAIEngine]]:
    """The student and the teacher on that server."""
    both = [OpenAIEngine(role, f"{url}/v1", tokenizer=tokenizer) for role in ("student", "teacher")]
    yield both
    for engine in both:
        await engine.aclose()


@pytest.fixture
async def loop(url: str, tokenizer: Tokenizer) -> AsyncIterator[Lockstep]:
    """The lock-step loop on that server."""
    loop = Lockstep(*(ModelServer(f"{url}/v1", role, tokenizer) for role in ("student", "teacher")))
    yield loop
    await loop.aclose()


def questions(n: int) -> list[Question]:
    return [Question([{"role": "user", "content": f"Tell me of Item {i}."}], 400) for i in range(n)]


async def test_lockstep_answers_as_the_relay_does(loop: Lockstep, engines: list[OpenAIEngine]) -> None:
    relay = Relay(*engines, RelaySettings(on_teacher_stop="continue"))
    in_lockstep = await time_lockstep(loop, questions(5))
    relayed = [await time_relay(relay, question) for question in questions(5)]
    assert [a.text for a in in_lockstep] == [answer(i) for i in range(5)] == [a.text for a in relayed]
    assert [a.teacher_tokens for a in in_lockstep] == [sum(n for _, n in CALLS)] * 5
    assert [a.teacher_tokens for a in relayed] == [sum(n for _, n in CALLS)] * 5
    assert [a.student_tokens for a in in_lockstep] == [a.student_tokens for a in relayed]
    for timed in (*in_lockstep, *relayed):
        assert len(timed.handovers) == len(CALLS)
        assert 0 < timed.first_s < timed.seconds
        assert all(0 < handover.seconds < timed.seconds for handover in timed.handovers)


async def test_lockstep_keeps_to_the_length(loop: Lockstep) -> None:
    batch = [LockstepAnswer(questions(1)[0].messages, max_tokens) for max_tokens in (1, 9, 20)]
    await loop.complete_batch(batch)
    for a in batch:
        assert a.done and a.student_tokens + a.teacher_tokens == a.max_tokens
        assert answer(0).startswith(a.text.partition("<")[0])


async def test_one_model_alone_is_timed(engines: list[OpenAIEngine]) -> None:
    await engines[1].start()
    timed = await time_alone(engines[1], "teacher", questions(3)[2])
    assert (timed.text, timed.student_tokens) == (answer(2), 0)
    assert timed.teacher_tokens > 10 and timed.step_s is not None and 0 <= timed.step_s < timed.seconds


def test_the_figures() -> None:
    student = MethodRun([TimedAnswer(student_tokens=100, first_s=0.1, step_s=0.01)] * 10, 2.0)  # 500 tokens/s
    teacher = MethodRun([TimedAnswer(teacher_tokens=100, first_s=0.1, step_s=0.1)] * 10, 10.0)  # 100 tokens/s
    streamed = TimedAnswer("a", 96, 4, 0.2, 1.0, None, [Handover(0.47, 4)], [0.1])
    blocking = TimedAnswer("b", 96, 4, 0.2, 1.0, None, [Handover(0.9, 0)])
    runs = {
        "student": student,
        "teacher": teacher,
        "relay": MethodRun([streamed] * 10, 2.5),
        "lockstep": MethodRun([blocking] * 10, 5.0),
        "relay +50 ms": MethodRun([streamed] * 10, 4.0),
        "lockstep +50 ms": MethodRun([streamed] * 10, 10.0),
    }
    relay = figures(runs, "relay")
    assert relay["tokens_per_s"] == 400 and relay["over_lockstep"] == 2 and relay["same_answers_as_lockstep"] == 0
    assert relay["ratio_to_ideal"] == 0.928  # (960 / 500 + 40 / 100) / 2.5
    assert relay["handover_s"] == {"p50": 0.07, "p95": 0.07}  # less four of the teacher's tokens
    assert relay["handover_steps"] == 6  # seven steps of the student, one of them its token's
    assert figures(runs, "lockstep")["handover_s"] == {"p50": 0.9, "p95": 0.9}
    delayed = figures(runs, "relay +50 ms")
    assert delayed["over_lockstep"] == 2.5 and delayed["same_answers_as_lockstep"] == 1


def test_the_result_is_shown_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = {name: MethodRun([TimedAnswer("a", 9, 1, 0.1, 1.0, 0.1)], 1.0) for name in ("student", "relay +50 ms")}
    result: dict[str, Any] = {"pairs": {"bundled": {"1": {name: figures(runs, name) for name in runs}, "16": {}}}}
    json.dumps(result)
    serving.show(result)
    serving.draw(result, tmp_path / "plot.png")
    output = capsys.readouterr().out
    assert "relay +50 ms" in output and "bundled" in output
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pair", "mine"], "write some of bundled,random"),
        (["--methods", "relay,fast"], "write some of student,teacher,relay"),
        (["--requests", "1;2"], "such as 1,16,64"),
    ],
)
def test_a_wrong_command_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        serving.parse_arguments(arguments)
    assert message in capsys.readouterr().err


def test_parts_are_chosen() -> None:
    options: argparse.Namespace = serving.parse_arguments(
        ["--pair", "random", "--requests", "1,64", "--methods", "relay,lockstep"]
    )
    assert (options.pair, options.requests, options.methods) == (["random"], [1, 64], ["relay", "lockstep"])
