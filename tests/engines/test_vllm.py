"""VLLMEngine with the bundled student: the real AsyncLLM, on this machine's CPU."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil
import pytest

from relay_core import bundled
from relay_core.bundled import task
from relay_core.chat import Conversation, render
from relay_core.constraint import Constraint, Kind
from relay_core.engines.base import Chunk, Finish, Prompt, Sampling, Warming, Waste
from relay_core.engines.scripted import ScriptedEngine
from relay_core.engines.spec import engine_from_spec
from relay_core.engines.transformers import TransformersEngine
from relay_core.engines.vllm import VLLMEngine
from relay_core.errors import ConfigurationError, ContextOverflow, EngineError
from relay_core.relay import Relay
from relay_core.tool_parser import parse_answer
from relay_core.tools import offer
from testing.adapters import change_config, make_adapter
from testing.servers import EXECUTOR, environment
from testing.streams import collect, text_of

pytestmark = pytest.mark.timeout(500)  # starting takes half a minute on an idle machine

ARGS: dict[str, Any] = {"dtype": "float32", "max_model_len": 512, "enforce_eager": True, "block_size": 32}


@pytest.fixture(scope="module")
def engine(in_vllm: VLLMEngine) -> VLLMEngine:
    return in_vllm


@pytest.fixture(scope="module")
def prompt(engine: VLLMEngine) -> Prompt:
    """A bundled problem, whose answer has more than 100 tokens."""
    [problem] = task.problems(1, split="test", seed=10)
    rendered = render(engine.tokenizer, Conversation.of(list(problem.messages)))
    return Prompt(rendered.text, rendered.token_ids)


async def test_scores_of_a_given_text_are_those_of_the_model(engine: VLLMEngine, prompt: Prompt) -> None:
    ids = engine.tokenizer.encode("So 47 * 6 = 282.")
    scores = await engine.scores(prompt.token_ids or (), ids)
    local = engine_from_spec("bundled:student-relay")
    try:
        assert isinstance(local, TransformersEngine)
        reading = await local.read(prompt.token_ids or (), ids)
    finally:
        await local.aclose()
    assert scores.logprobs == pytest.approx(reading.logprobs.tolist(), abs=1e-3)
    assert scores.top_logprobs == pytest.approx(reading.top_logprobs.tolist(), abs=1e-3)
    assert scores.end_gap == pytest.approx(reading.end_gap, abs=1e-3)
    with pytest.raises(ContextOverflow, match="context is 512"):
        await engine.scores(list(prompt.token_ids or ()) * 8, ids)


async def test_ids_in_and_out_with_log_probabilities(engine: VLLMEngine, prompt: Prompt) -> None:
    tokens, last = await collect(engine, prompt, Sampling(20))
    assert len(tokens) == 20
    assert text_of(tokens) == engine.tokenizer.decode([t.id for t in tokens if t.id is not None])
    assert all(t.logprob is not None and t.logprob <= 0 for t in tokens)
    assert last.finish is Finish.LENGTH
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (len(prompt.token_ids or ()), 20)
    assert engine.context_length == 512


async def test_the_cached_part_of_a_prompt_is_not_read_again(engine: VLLMEngine, prompt: Prompt) -> None:
    tokens, _ = await collect(engine, prompt, Sampling(40))
    ids = [*(prompt.token_ids or ()), *(t.id for t in tokens if t.id is not None)]
    rest, last = await collect(engine, Prompt("", ids[: len(prompt.token_ids or ()) + 36]), Sampling(4))
    assert rest == tokens[36:], "continued in a second request, the answer is the same"
    assert last.usage is not None
    assert last.usage.cached_tokens is not None
    assert last.usage.cached_tokens > len(prompt.token_ids or ())


async def test_a_stop_string_keeps_its_last_token_whole(engine: VLLMEngine, prompt: Prompt) -> None:
    tokens, _ = await collect(engine, prompt, Sampling(20))
    stop = text_of(tokens)[8:11]
    stopped, last = await collect(engine, prompt, Sampling(20, stop=(stop,)))
    assert last.finish is Finish.STOP
    assert stopped == tokens[: len(stopped)]
    assert stop in text_of(stopped)
    assert stop not in text_of(stopped[:-1])


async def test_closing_a_stream_ends_its_request(engine: VLLMEngine, prompt: Prompt) -> None:
    chunks = engine.stream(prompt, Sampling(450))
    await anext(chunks)
    await chunks.aclose()
    assert engine._llm is not None
    until = time.monotonic() + 1
    while engine._llm.get_num_unfinished_requests() and time.monotonic() < until:
        await asyncio.sleep(0.01)
    assert engine._llm.get_num_unfinished_requests() == 0


@pytest.mark.parametrize("n", [1, 7, 30])
async def test_a_warmed_stream_is_cut_at_n(engine: VLLMEngine, prompt: Prompt, n: int) -> None:
    expected, whole = await collect(engine, prompt, Sampling(n))
    for late in (False, True):
        waste = Waste()
        warming = Warming(waste)
        task = asyncio.ensure_future(collect(engine, prompt, Sampling(30), warming))
        if late:
            await collect(engine, prompt, Sampling(40))  # by then the warmed stream has been written
        assert not task.done()
        warming.want(n)
        tokens, last = await task
        assert [t.id for t in tokens] == [t.id for t in expected]
        assert (last.finish, last.end_token) == (Finish.LENGTH, None)
        assert last.usage is not None and whole.usage is not None
        assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (whole.usage.prompt_tokens, n)
        assert last.usage.cached_tokens is not None
        assert (waste.requests, waste.prompt_tokens) == (0, 0)
        assert waste.tokens == 30 - n if late else waste.tokens <= 30 - n


async def test_a_warmed_stream_that_is_dropped_is_counted(engine: VLLMEngine, prompt: Prompt) -> None:
    waste = Waste()
    task = asyncio.ensure_future(collect(engine, prompt, Sampling(30), Warming(waste)))
    await collect(engine, prompt, Sampling(40))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (waste.requests, waste.prompt_tokens, waste.tokens) == (1, len(prompt.token_ids or ()), 30)


async def test_many_requests_at_once_write_what_each_writes_alone(engine: VLLMEngine, prompt: Prompt) -> None:
    alone, _ = await collect(engine, prompt, Sampling(10))
    many = await asyncio.gather(*(collect(engine, prompt, Sampling(10)) for _ in range(32)))
    assert all([t.id for t in tokens] == [t.id for t in alone] for tokens, _ in many)


async def chunks_of(stream: AsyncGenerator[Chunk, None]) -> list[Chunk]:
    async with aclosing(stream) as source:
        return [chunk async for chunk in source]


async def test_with_many_requests_a_chunk_has_several_tokens(engine: VLLMEngine, prompt: Prompt) -> None:
    sampling = Sampling(60)
    alone = await chunks_of(engine.stream(prompt, sampling))
    many = await asyncio.gather(*(chunks_of(engine.stream(prompt, sampling)) for _ in range(64)))
    assert len(alone) > 30, "a lone request gets tokens one by one, unless it reads late"
    assert sum(map(len, many)) < 64 * 60 / 3, "a chunk has several tokens"
    for chunks in many:
        assert [t.id for c in chunks for t in c.tokens] == [t.id for c in alone for t in c.tokens]


async def test_the_first_token_does_not_wait_for_others(
    engine: VLLMEngine, prompt: Prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted where vLLM puts its outputs into a queue, since a late reader gets several outputs at once."""
    from vllm.v1.engine.output_processor import RequestOutputCollector as Collector

    queued: dict[Collector, list[int]] = {}  # one collector a request; tokens of each output

    def put(collector: Any, output: Any, real: Any = Collector.put) -> None:
        queued.setdefault(collector, []).append(len(output.outputs[0].token_ids))
        real(collector, output)

    monkeypatch.setattr(Collector, "put", put)
    await asyncio.gather(*(chunks_of(engine.stream(prompt, Sampling(60))) for _ in range(64)))
    assert len(queued) == 64
    assert {token_counts[0] for token_counts in queued.values()} == {1}
    assert max(map(max, queued.values())) == 8


async def test_a_seed_repeats_a_lone_request(engine: VLLMEngine, prompt: Prompt) -> None:
    first, _ = await collect(engine, prompt, Sampling(60, temperature=2.0, seed=7))
    again, _ = await collect(engine, prompt, Sampling(60, temperature=2.0, seed=7))
    other, _ = await collect(engine, prompt, Sampling(60, temperature=2.0, seed=8))
    assert first == again
    assert first != other


async def test_a_schema_is_followed(engine: VLLMEngine, prompt: Prompt) -> None:
    schema = {"enum": ["yes", "no"]}
    tokens, last = await collect(engine, prompt, Sampling(40, json_schema=schema))
    assert json.loads(text_of(tokens)) in ("yes", "no")
    assert last.finish is Finish.END
    assert last.end_token is not None
    assert last.end_token.id == engine.tokenizer.hf.eos_token_id


async def test_other_constraints_are_followed(engine: VLLMEngine, prompt: Prompt) -> None:
    parameters = {"type": "object", "properties": {"n": {"enum": [1, 22]}}, "required": ["n"]}
    offered = offer([{"name": "add", "parameters": parameters}, {"name": "sub", "parameters": parameters}], "any")
    assert offered.constraint is not None
    for constraint in (Constraint.regex(r"[a-c]{3}"), Constraint.choice("yes", "no, never"), offered.constraint):
        await engine.check_constraint(constraint)
        tokens, last = await collect(engine, prompt, Sampling(80, 1.0, **constraint.fields("")))
        text = text_of(tokens)
        assert last.finish is Finish.END
        if constraint.kind is Kind.REGEX:
            assert re.fullmatch("[a-c]{3}", text)
        elif constraint.kind is Kind.CHOICE:
            assert text in ("yes", "no, never")
        else:
            parsed = parse_answer(offered.prefix + text)
            [call] = parsed.tool_calls
            assert call.name in ("add", "sub")
            assert call.arguments["n"] in (1, 22)
            assert not parsed.invalid_tool_calls


async def test_a_constraint_that_vllm_cannot_take_is_refused_at_the_check(engine: VLLMEngine) -> None:
    with pytest.raises(ConfigurationError, match="vLLM cannot decode under this regex"):
        await engine.check_constraint(Constraint.regex("["))


async def test_a_prompt_that_fills_the_context(engine: VLLMEngine) -> None:
    with pytest.raises(ContextOverflow, match="512"):
        await collect(engine, Prompt("", [5] * 512), Sampling(1))
    _, last = await collect(engine, Prompt("", [5] * 510), Sampling(9))
    assert last.finish is Finish.LENGTH


def test_a_relay_on_the_background_loop_and_on_others(engine: VLLMEngine) -> None:
    student = ScriptedEngine([["It is <call>5</call>"], [" So."]], engine.tokenizer)
    relay = Relay(student, engine)
    texts = {relay.generate("Add 2 and 3.").text, *(r.text for r in relay.batch(["Add 2 and 3."] * 3))}
    texts |= {asyncio.run(relay.agenerate("Add 2 and 3.")).text for _ in range(2)}
    assert len(texts) == 1
    assert Relay(engine, engine).generate("Add 2 and 3.", max_tokens=9).usage.student_tokens == 9


def test_unusable_arguments_are_refused_by_the_constructor(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"config\.json"):
        VLLMEngine(tmp_path)
    with pytest.raises(ConfigurationError, match="trust_remote_code"):
        VLLMEngine(bundled.path("teacher"), trust_remote_code=True)


async def test_an_argument_that_vllm_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no_such_argument"):
        await VLLMEngine(bundled.path("teacher"), no_such_argument=1).start()


async def test_settings_and_ids_that_vllm_refuses_cost_no_other_request(engine: VLLMEngine, prompt: Prompt) -> None:
    other = asyncio.ensure_future(collect(engine, prompt, Sampling(100)))
    with pytest.raises(ConfigurationError, match="temperature"):
        await collect(engine, prompt, Sampling(5, temperature=3.0))
    for ids in ([10**6], [-1], []):
        with pytest.raises(EngineError, match="the prompt"):
            await collect(engine, Prompt("", ids), Sampling(5))
    assert len((await other)[0]) == 100


@pytest.mark.slow
async def test_closing_ends_answers_at_once_and_the_engine_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    args = {**ARGS, "max_model_len": 2048, "distributed_executor_backend": EXECUTOR}
    engine = VLLMEngine(bundled.path("teacher"), **args)
    endless = Prompt("", engine.tokenizer.encode("Add 2 and 3."))

    def elsewhere() -> list[object]:
        async def answers() -> list[object]:
            return await asyncio.gather(
                *[collect(engine, endless, Sampling(2000, 2.0, seed=i)) for i in range(3)], return_exceptions=True
            )

        return asyncio.run(answers())

    await engine.start()
    try:
        running = asyncio.ensure_future(asyncio.to_thread(elsewhere))
        stream = engine.stream(endless, Sampling(2000, 2.0, seed=9))
        await anext(stream)
        await asyncio.gather(engine.aclose(), engine.aclose())
        async with asyncio.timeout(10):
            with pytest.raises(EngineError, match="was closed"):
                async for _ in stream:
                    pass
            for result in await running:
                assert not isinstance(result, BaseException) or isinstance(result, EngineError), result
        assert len((await collect(engine, endless, Sampling(3)))[0]) == 3
    finally:
        await engine.aclose()


@pytest.mark.slow
async def test_an_adapter_answers_as_on_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The merged model is on disk only until vLLM has loaded it; constraints are compiled after that, too."""
    base, adapter = bundled.path("student-base"), tmp_path / "adapter"
    make_adapter(base, adapter, scale=2.0)
    change_config(adapter, base_model_name_or_path="/no/such/base")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    prompts = [list(problem.messages) for problem in task.problems(8, split="test", seed=10)]
    engines: list[Any] = [
        VLLMEngine(adapter, base=base, distributed_executor_backend=EXECUTOR, **ARGS),
        TransformersEngine(adapter, base=base, dtype="float32"),
        TransformersEngine(base, dtype="float32"),
    ]
    answers = []
    for engine in engines:
        try:
            relay = Relay(engine, None)
            results = await relay.abatch(prompts, max_tokens=60, temperature=0.0, calls=False)
            letters = Constraint.regex("[a-c]{3}")
            held = await relay.agenerate(prompts[0], max_tokens=60, temperature=0.0, constraint=letters)
            answers.append([result.text for result in (*results, held)])
        finally:
            await engine.aclose()
    assert answers[0] == answers[1] != answers[2]
    assert not list(tmp_path.glob("relay-merged-*"))
    described = {"adapter": str(adapter), "base": str(base)}
    assert described.items() <= engines[0].describe().items()


@pytest.mark.slow
def test_a_process_that_ends_without_closing_leaves_nothing_behind() -> None:
    script = f"""
from relay_core import Relay, ScriptedEngine, VLLMEngine, bundled
if __name__ == "__main__":
    engine = VLLMEngine(bundled.path("student-relay"), **{ARGS!r})
    student = ScriptedEngine([["It is <call>5</call>"], [" So."]], engine.tokenizer)
    print("teacher tokens:", Relay(student, engine).generate("Add 2 and 3.").usage.teacher_tokens)
"""
    code, out, err, alive = run_alone("-c", script)
    assert code == 0, err
    assert "teacher tokens: 5" in out
    assert "Traceback" not in err, err
    assert not alive


@pytest.mark.slow
def test_a_script_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"from relay_core import Relay, VLLMEngine, bundled\n"
        f'Relay(VLLMEngine(bundled.path("student-relay"), **{ARGS!r}), None).generate("Add 2 and 3.")\n'
    )
    code, _, err, _ = run_alone(str(script))
    assert code != 0
    assert 'must stand under `if __name__ == "__main__":`' in err.splitlines()[-1], err[-2000:]


def run_alone(*arguments: str) -> tuple[int, str, str, list[psutil.Process]]:
    """Run Python in a session of its own; its exit status, output, errors, and the processes that had to be killed."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env={**environment(), "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=400)
        _, alive = psutil.wait_procs(in_session(process.pid), timeout=30)
    finally:
        for remaining in in_session(process.pid):
            remaining.kill()
    return process.returncode, out, err, alive


def in_session(leader: int) -> list[psutil.Process]:
    """The processes of a session; an orphan that ended stays a zombie where no process 1 reaps it."""

    def session(pid: int) -> int | None:
        try:
            return os.getsid(pid)
        except OSError:
            return None

    return [
        process
        for process in psutil.process_iter(["pid", "status"])
        if session(process.pid) == leader and process.info["status"] != psutil.STATUS_ZOMBIE
    ]
