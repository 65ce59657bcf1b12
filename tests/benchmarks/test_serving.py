"""benchmarks/serving.py: its scripted calls, its lock-step loop, its arithmetic; on a real HTTP server with a script.

tests/engines/test_benchmarks.py runs the whole of it on real vLLM servers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import random_pair, serving
from benchmarks.lockstep import Answer, Lockstep, Party
from relay_core import OpenAIEngine, Relay, RelaySettings, ScriptedEngine, bundled, command
from relay_core.engines.base import Finish, Prompt, Sampling
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
    """The student and the teacher behind it."""
    both = [OpenAIEngine(role, f"{url}/v1", tokenizer=tokenizer) for role in ("student", "teacher")]
    yield both
    for engine in both:
        await engine.aclose()


def questions(n: int) -> list[serving.Asked]:
    return [serving.Asked([{"role": "user", "content": f"Tell me of Item {i}."}], 400) for i in range(n)]


async def test_lockstep_answers_as_the_relay_does(url: str, tokenizer: Tokenizer, engines: list[OpenAIEngine]) -> None:
    party = [Party(f"{url}/v1", role, tokenizer) for role in ("student", "teacher")]
    relay, loop = Relay(*engines, RelaySettings(on_teacher_stop="continue")), Lockstep(*party)
    try:
        rounds = await serving.in_rounds(loop, questions(5))
    finally:
        await loop.aclose()
    relayed = [await serving.relayed(relay, asked) for asked in questions(5)]
    assert [got.text for got in rounds] == [answer(i) for i in range(5)] == [got.text for got in relayed]
    assert [got.teacher_tokens for got in rounds] == [sum(n for _, n in CALLS)] * 5
    assert [got.teacher_tokens for got in relayed] == [sum(n for _, n in CALLS)] * 5
    assert [got.student_tokens for got in rounds] == [got.student_tokens for got in relayed]
    for got in (*rounds, *relayed):
        assert len(got.handovers) == len(CALLS)
        assert 0 < got.first_s < got.seconds
        assert all(0 < seconds < got.seconds for seconds, _ in got.handovers)


async def test_lockstep_keeps_to_the_length(url: str, tokenizer: Tokenizer) -> None:
    party = [Party(f"{url}/v1", role, tokenizer) for role in ("student", "teacher")]
    loop, short = Lockstep(*party), [Answer(questions(1)[0].messages, most) for most in (1, 9, 20)]
    try:
        await loop.answer(short)
    finally:
        await loop.aclose()
    for a in short:
        assert a.done and a.student_tokens + a.teacher_tokens == a.max_tokens
        assert answer(0).startswith(a.text.partition("<")[0])


async def test_one_model_alone_is_timed(engines: list[OpenAIEngine]) -> None:
    await engines[1].start()
    got = await serving.alone(engines[1], "teacher", questions(3)[2])
    assert (got.text, got.student_tokens) == (answer(2), 0)
    assert got.teacher_tokens > 10 and got.step_s is not None and 0 <= got.step_s < got.seconds


@pytest.mark.parametrize("chunk", [1, 3, 100])
async def test_scheduled_calls_come_where_they_are_set(qwen3: Tokenizer, chunk: int) -> None:
    words = [" word" * 40]
    student = random_pair.Scheduled(ScriptedEngine(words * 9, qwen3, chunk=chunk), lambda _, turn: (5 + turn, 3))
    result = await Relay(student, ScriptedEngine(" and" * 40, qwen3)).agenerate("Go.", max_tokens=60)
    whole = [(str(s.author), len(s.token_ids)) for s in result.segments]
    written = len(qwen3.encode(command.write(3)))
    assert whole[:3] == [("student", 5), ("command", written), ("teacher", 3)]
    assert whole[3:6] == [("student", 6), ("command", written), ("teacher", 3)]
    assert result.usage.calls == 3 and result.usage.completion_tokens == 60
    assert result.text.startswith(" word" * 5 + " and" * 3 + " word" * 6 + " and" * 3)


async def test_scheduled_asks_for_no_more_than_the_turn(qwen3: Tokenizer) -> None:
    inner = ScriptedEngine(" word" * 40, qwen3, record=True)
    student = random_pair.Scheduled(inner, random_pair.points(20, 6))
    prompt = Prompt("x", [1], [{"role": "user", "content": "x"}])
    for most, stop in ((100, ("</call>",)), (8, ("</call>",)), (30, ())):
        chunks = [chunk async for chunk in student.stream(prompt, Sampling(most, stop=stop))]
        asked = inner.requests[-1][1]
        assert sum(len(chunk.tokens) for chunk in chunks) == asked.max_tokens <= most
        assert not asked.stop
        assert chunks[-1].finish is (Finish.STOP if most == 100 else Finish.LENGTH)


def test_the_words_of_the_random_pair_say_themselves(qwen3: Tokenizer) -> None:
    ids = random_pair.words(qwen3)[::400]
    both = [*ids, *qwen3.encode(command.write(12)), *reversed(ids)]
    assert len(ids) > 50 and qwen3.encode(qwen3.decode(both)) == both


def test_a_random_model_writes_nothing_but_words(qwen3: Tokenizer, tmp_path: Path) -> None:
    import torch
    from transformers import Qwen3ForCausalLM

    shape = random_pair.Shape(hidden=32, layers=1, heads=1, key_value_heads=1, intermediate=32)
    assert random_pair.build(tmp_path, qwen3, shape, seed=3) > 151_669 * 32
    model = Qwen3ForCausalLM.from_pretrained(tmp_path)
    prompt = torch.tensor([qwen3.encode("Count to ten, please.")])
    said = model.generate(prompt, max_new_tokens=8, do_sample=False)[0, prompt.shape[1] :].tolist()
    assert len(said) == 8 and set(said) <= set(random_pair.words(qwen3))


def test_points_are_of_the_prompt_and_the_turn() -> None:
    point = random_pair.points(32, 6)
    messages = [[{"role": "user", "content": f"question {i}"}] for i in range(200)]
    drawn = [point(m, turn) for m in messages for turn in range(3)]
    assert drawn == [point(m, turn) for m in messages for turn in range(3)]
    assert {p.n for p in drawn} == set(range(3, 10)) and {p.after for p in drawn} == set(range(16, 49))


def test_the_figures() -> None:
    student = serving.Run([serving.Got(student_tokens=100, first_s=0.1, step_s=0.01)] * 10, 2.0)  # 500 tokens/s
    teacher = serving.Run([serving.Got(teacher_tokens=100, first_s=0.1, step_s=0.1)] * 10, 10.0)  # 100 tokens/s
    got = serving.Got("a", 96, 4, 0.2, 1.0, None, [(0.47, 4)], [0.1])
    blocking = serving.Got("b", 96, 4, 0.2, 1.0, None, [(0.9, 0)])
    runs = {
        "student": student,
        "teacher": teacher,
        "relay": serving.Run([got] * 10, 2.5),
        "lockstep": serving.Run([blocking] * 10, 5.0),
        "relay +50 ms": serving.Run([got] * 10, 4.0),
        "lockstep +50 ms": serving.Run([got] * 10, 10.0),
    }
    relay = serving.figures(runs, "relay")
    assert relay["tokens_per_s"] == 400 and relay["over_lockstep"] == 2 and relay["same_answers_as_lockstep"] == 0
    assert relay["ratio_to_ideal"] == 0.928  # (960 / 500 + 40 / 100) / 2.5
    assert relay["handover_s"] == {"p50": 0.07, "p95": 0.07}  # less four of the teacher's tokens
    assert relay["handover_steps"] == 6  # seven steps of the student, one of them its token's
    assert serving.figures(runs, "lockstep")["handover_s"] == {"p50": 0.9, "p95": 0.9}
    later = serving.figures(runs, "relay +50 ms")
    assert later["over_lockstep"] == 2.5 and later["same_answers_as_lockstep"] == 1


def test_it_is_told_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = {name: serving.Run([serving.Got("a", 9, 1, 0.1, 1.0, 0.1)], 1.0) for name in ("student", "relay +50 ms")}
    result: dict[str, Any] = {
        "pairs": {"bundled": {"1": {name: serving.figures(runs, name) for name in runs}, "16": {}}}
    }
    json.dumps(result)
    serving.show(result)
    serving.draw(result, tmp_path / "plot.png")
    said = capsys.readouterr().out
    assert "relay +50 ms" in said and "bundled" in said
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--pair", "mine"], "write some of bundled,random"),
        (["--methods", "relay,fast"], "write some of student,teacher,relay"),
        (["--requests", "1;2"], "such as 1,16,64"),
    ],
)
def test_a_wrong_command_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        serving.parse(arguments)
    assert says in capsys.readouterr().err


def test_parts_are_chosen() -> None:
    options: argparse.Namespace = serving.parse(
        ["--pair", "random", "--requests", "1,64", "--methods", "relay,lockstep"]
    )
    assert (options.pair, options.requests, options.methods) == (["random"], [1, 64], ["relay", "lockstep"])
