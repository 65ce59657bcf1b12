"""Endpoints of one model take requests in turn; one that fails is passed over, and no answer is lost."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from relay_core import Chunk, ConfigurationError, Engine, EngineError, Prompt, Relay, RelaySettings, Sampling
from relay_core.engines.base import BreakerState, Warming
from relay_core.engines.in_turn import InTurn, in_turn
from relay_core.engines.scores import Scores
from relay_core.engines.scripted import Delay, ScriptedEngine
from relay_core.engines.spec import engine_from_spec
from relay_core.errors import ContextOverflow
from relay_core.tokenizer import Tokenizer
from testing.streams import collect, text_of


class Named(ScriptedEngine):
    """A scripted engine with a name, which can be made unable to start."""

    def __init__(self, name: str, script: Any, tokenizer: Any, *, starts: bool = True, **options: Any) -> None:
        super().__init__(script, tokenizer, record=True, **options)
        self.spec, self.starts, self.starting = name, starts, 0

    async def start(self) -> None:
        self.starting += 1
        if not self.starts:
            raise EngineError(f"{self.spec} cannot be reached")

    def timed_out(self, reason: str) -> str:
        return f"{reason}, at {self.spec}"


def prompt_of(qwen3: Tokenizer, text: str = "Say something. ") -> Prompt:
    return Prompt(text, qwen3.encode(text))


async def test_the_engine_with_the_fewest_requests_in_flight_gets_the_next(qwen3: Tokenizer) -> None:
    slow = Named("slow", [["a", Delay(30), "b"]], qwen3)
    fast = Named("fast", "c", qwen3)
    engine = InTurn([slow, fast])
    prompt = prompt_of(qwen3)
    waiting = engine.stream(prompt, Sampling(4))
    assert text_of((await anext(waiting)).tokens) == "a"
    for _ in range(3):
        tokens, _ = await collect(engine, prompt, Sampling(4))
        assert text_of(tokens) == "c"
    await waiting.aclose()
    assert (len(slow.requests), len(fast.requests)) == (1, 3)
    chunks = engine.stream(prompt, Sampling(4))
    await anext(chunks)
    await chunks.aclose()
    assert len(slow.requests) == 2, "with none in flight, it is the turn of the one that has waited longest"


async def test_an_engine_that_fails_is_passed_over_and_its_request_goes_to_another(
    qwen3: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Named("broken", [[EngineError("it is down")]], qwen3)
    works = Named("works", "yes", qwen3)
    engine = InTurn([broken, works])
    for _ in range(4):
        tokens, _ = await collect(engine, prompt_of(qwen3), Sampling(4))
        assert text_of(tokens) == "yes"
    assert (len(broken.requests), len(works.requests)) == (1, 4)
    assert [r.getMessage() for r in caplog.records] == ["broken failed, and is passed over for 30 s: it is down"]


async def test_after_its_rest_an_engine_is_asked_again(qwen3: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("relay_core.engines.in_turn.time.monotonic", lambda: now)
    answers = iter([[EngineError("it is down")], "back"])
    broken = Named("broken", lambda prompt: next(answers), qwen3)
    engine = InTurn([broken, Named("works", "yes", qwen3)], rest_s=5)
    assert text_of((await collect(engine, prompt_of(qwen3), Sampling(4)))[0]) == "yes"
    now += 4
    assert text_of((await collect(engine, prompt_of(qwen3), Sampling(4)))[0]) == "yes"
    now += 2
    assert text_of((await collect(engine, prompt_of(qwen3), Sampling(4)))[0]) == "back"


async def test_the_error_comes_if_all_engines_fail_even_those_that_rest(qwen3: Tokenizer) -> None:
    engines = [Named(name, [[EngineError(f"{name} is down")]], qwen3) for name in "ab"]
    engine = InTurn(engines)
    for _ in range(2):
        with pytest.raises(EngineError, match=r"all 2 endpoints failed; the last error: . is down"):
            await collect(engine, prompt_of(qwen3), Sampling(4))
    assert [len(e.requests) for e in engines] == [2, 2], "an engine that rests is asked if no other is left"


async def test_an_answer_that_breaks_goes_on_elsewhere_from_its_last_token(qwen3: Tokenizer) -> None:
    breaks = Named("breaks", [["one two", EngineError("the connection broke")]], qwen3)
    goes_on = Named("goes on", " three", qwen3)
    prompt = prompt_of(qwen3)
    tokens, last = await collect(InTurn([breaks, goes_on]), prompt, Sampling(9, temperature=1.0, seed=5))
    assert text_of(tokens) == "one two three"
    written = len(qwen3.encode("one two"))
    [(request, sampling)] = goes_on.requests
    assert list(request.token_ids or ()) == [*(prompt.token_ids or ()), *qwen3.encode("one two")]
    assert request.text == prompt.text + "one two" and request.continuation == "one two"
    assert (sampling.max_tokens, sampling.seed) == (9 - written, 5 + written)
    assert last.usage is not None and last.usage.completion_tokens == written + len(qwen3.encode(" three")) + 1


@pytest.mark.parametrize("sampling", [Sampling(9, stop=("x",)), Sampling(9, regex=".*")])
async def test_an_answer_that_cannot_be_resumed_fails(qwen3: Tokenizer, sampling: Sampling) -> None:
    breaks = Named("breaks", [["one", EngineError("the connection broke")]], qwen3)
    with pytest.raises(EngineError, match="the connection broke"):
        await collect(InTurn([breaks, Named("other", "two", qwen3)]), prompt_of(qwen3), sampling)


async def test_a_failure_after_the_last_token_loses_nothing(qwen3: Tokenizer) -> None:
    class Silent(Named):
        async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
            async for chunk in super().stream(prompt, sampling):
                yield replace(chunk, finish=None)
            raise EngineError("no finish")

    other = Named("other", "four", qwen3)
    tokens, last = await collect(InTurn([Silent("silent", "one", qwen3), other]), prompt_of(qwen3), Sampling(1))
    assert text_of(tokens) == "one" and last.finish is not None and not other.requests


async def test_what_no_other_engine_could_mend_is_raised_at_once(qwen3: Tokenizer) -> None:
    full = Named("full", "a", qwen3, context_length=2)
    other = Named("other", "b", qwen3)
    with pytest.raises(ContextOverflow):
        await collect(InTurn([full, other]), prompt_of(qwen3), Sampling(4))
    wrong = Named("wrong", [[ConfigurationError("no such model")]], qwen3)
    with pytest.raises(ConfigurationError, match="no such model"):
        await collect(InTurn([wrong, other]), prompt_of(qwen3), Sampling(4))
    assert not other.requests


async def test_engines_that_cannot_be_reached_start_later(qwen3: Tokenizer) -> None:
    absent, present = Named("absent", "a", qwen3, starts=False), Named("present", "b", qwen3)
    engine = InTurn([absent, present])
    await engine.start()
    await engine.start()
    assert absent.starting == 1, "a call does not wait again for an endpoint that is not there"
    assert text_of((await collect(engine, prompt_of(qwen3), Sampling(4)))[0]) == "b"
    with pytest.raises(EngineError, match="absent cannot be reached"):
        await InTurn([absent]).start()
    absent.starts, present.starts = True, False
    await engine.aclose()
    engine._members[0].rests_until = 0.0
    await engine.start()
    assert text_of((await collect(engine, prompt_of(qwen3), Sampling(4)))[0]) == "a"


async def test_endpoints_of_different_models_are_refused(qwen3: Tokenizer) -> None:
    engine = InTurn([Named("a", "a", qwen3), Named("b", "b", "bundled")])
    with pytest.raises(ConfigurationError, match="b has another vocabulary"):
        await engine.start()


async def test_an_engine_that_stays_silent_is_passed_over(qwen3: Tokenizer) -> None:
    silent = Named("silent", [[Delay(30), "a"]], qwen3)
    engine = InTurn([silent, Named("works", "b", qwen3)])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), aclosing(engine.stream(prompt_of(qwen3), Sampling(4))) as chunks:
            await anext(chunks)
    assert engine.timed_out("no answer within 0.05 s") == "no answer within 0.05 s, at silent"
    assert engine.timed_out("again") == "again", "nothing was dropped since"
    for _ in range(2):
        assert text_of((await collect(engine, prompt_of(qwen3), Sampling(4)))[0]) == "b"


async def test_a_warmed_stream_moves_on_before_its_first_token(qwen3: Tokenizer) -> None:
    broken = Named("broken", [[EngineError("it is down")]], qwen3)
    engine = InTurn([broken, Named("works", "one two three", qwen3)])
    warming = Warming()
    warming.want(2)
    tokens, _ = await collect(engine, prompt_of(qwen3), Sampling(6), warming)
    assert text_of(tokens) == "one two"


async def test_scores_of_a_text_come_from_any_of_them(qwen3: Tokenizer) -> None:
    class Scoring(Named):
        async def scores(self, prompt_ids: Sequence[int], ids: Sequence[int]) -> Scores:
            if self.script == "down":
                raise EngineError("it is down")
            return Scores([-1.0] * len(ids), [-0.5] * len(ids), float("inf"))

    works = Scoring("works", "a", qwen3)
    engine = InTurn([Scoring("broken", "down", qwen3), works])
    assert (await engine.scores([1], [2, 3])).logprobs == [-1.0, -1.0]
    with pytest.raises(ConfigurationError, match="mute does not score a text"):
        await InTurn([Named("mute", "a", qwen3), works]).scores([1], [2, 3])
    assert [member.in_flight for member in engine._members] == [0, 0]


async def test_calls_of_a_relay_are_shared(qwen3: Tokenizer) -> None:
    teachers = [Named(name, "42", qwen3) for name in "ab"]
    student = ScriptedEngine([["6 * 7 = <call>2</call>"], ["."]], qwen3)
    relay = Relay(student, InTurn(teachers), RelaySettings(on_teacher_stop="continue"))
    results = await relay.abatch(["6 * 7?"] * 6)
    assert {r.text for r in results} == {"6 * 7 = 42."}
    assert [len(t.requests) for t in teachers] == [3, 3]
    await relay.aclose()


def test_one_engine_is_left_alone_and_several_are_pickled_together() -> None:
    one, two = "openai:m@http://a:1/v1", "openai:m@http://b:1/v1"
    engines = [engine_from_spec(spec, role="teacher") for spec in (one, two)]
    assert in_turn(engines[:1]) is engines[0]
    engine = in_turn(engines)
    assert isinstance(engine, InTurn) and engine.spec == f"{one}, {two}"
    assert [e.spec for e in pickle.loads(pickle.dumps(engine)).engines] == [one, two]
    with pytest.raises(ConfigurationError, match="at least one"):
        in_turn([])


def test_nothing_of_an_engine_is_forgotten() -> None:
    """Each member of Engine is one of InTurn's own, or is listed here with the reason why the default is right."""
    # they log, or name `spec`; the last one says whether answer_ended logs
    of_its_own = {
        "call_ended", "answer_ended", "gives_no_hidden_state", "not_picklable", "warns_without_commands",
    }  # fmt: skip
    for name, _ in inspect.getmembers(Engine):
        if not name.startswith("_") and name not in of_its_own and name not in ("spec", "deciding"):  # set anew
            assert name in vars(InTurn), name


def test_it_can_do_what_all_of_them_can(qwen3: Tokenizer) -> None:
    able = ScriptedEngine("a", qwen3, constrains=True, warms=True, context_length=50)
    other = ScriptedEngine("a", None)
    both = InTurn([able, other])
    names = ("constrains", "resumes_constraints", "speaks_ids", "warms")
    assert [getattr(both, name) for name in names] == [False] * 4
    assert [getattr(InTurn([able, able]), name) for name in names] == [True] * 4
    assert both.context_length == 50 and both.tokenizer is able.tokenizer and not both.constraints
    assert both.breaker is BreakerState.CLOSED
    assert [e["engine"] for e in both.describe()["in_turn"]] == ["ScriptedEngine"] * 2


def test_a_forked_child_has_no_requests_of_its_parent_in_flight() -> None:
    engine = InTurn([ScriptedEngine("a", None), ScriptedEngine("b", None)])
    engine._lock.acquire()  # by a thread that the child does not have
    engine._members[0].in_flight = 3
    engine.forget_parent()
    assert [engine._take([]) for _ in range(2)] == engine._members
