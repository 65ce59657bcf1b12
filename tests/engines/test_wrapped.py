"""A wrapping engine forwards everything that ``Engine`` has, and is warmed only where no override would be bypassed."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest

from relay_core import Chunk, Engine, Prompt, Relay, RelaySettings, Sampling, ScriptedEngine, Wrapped
from relay_core.engines.base import BreakerState, Warming
from relay_core.tokenizer import Tokenizer
from testing.streams import collect, text_of


class Shouting(Wrapped):
    """Writes in capitals."""

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        async for chunk in self.inner.stream(prompt, sampling):
            yield replace(chunk, tokens=[token._replace(text=token.text.upper()) for token in chunk.tokens])


class WarmShouting(Shouting):
    """Writes in capitals, warmed too."""

    warm_stream = Engine.warm_stream


class Observed(Engine):
    """Records what is done to it; every property has an unusual value."""

    spec = "observed"
    constrains = True
    speaks_ids = False
    continues = False
    warmable = True
    warms = True
    breaker = BreakerState.OPEN
    context_length = 77

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.events: list[Any] = []

    @property
    def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    async def start(self) -> None:
        self.events.append("start")

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        self.events.append(("stream", prompt, sampling))
        yield Chunk()

    async def warm_stream(self, prompt: Prompt, sampling: Sampling, warming: Warming) -> AsyncGenerator[Chunk, None]:
        self.events.append(("warm_stream", prompt, sampling, warming))
        yield Chunk()

    def timed_out(self, reason: str) -> str:
        return f"{reason}, observed"

    def call_ended(self, error: str | None) -> None:
        self.events.append(("call_ended", error))

    def answer_ended(self, *, commands: int) -> None:
        self.events.append(("answer_ended", commands))

    async def aclose(self) -> None:
        self.events.append("aclose")


async def test_everything_is_forwarded(qwen3: Tokenizer) -> None:
    inner = Observed(qwen3)
    wrapped = Wrapped(inner)
    names = ("spec", "constrains", "speaks_ids", "continues", "warmable", "warms", "breaker", "tokenizer")
    for name in (*names, "context_length"):
        assert getattr(wrapped, name) == getattr(inner, name), name
    assert wrapped.describe().items() >= inner.describe().items()
    assert wrapped.timed_out("no token") == "no token, observed"
    prompt, sampling, warming = Prompt("Q"), Sampling(3), Warming()
    await wrapped.start()
    await collect(wrapped, prompt, sampling)
    await collect(wrapped, prompt, sampling, warming)
    wrapped.call_ended("broken")
    wrapped.answer_ended(commands=3)
    await wrapped.aclose()
    assert inner.events == [
        "start",
        ("stream", prompt, sampling),
        ("warm_stream", prompt, sampling, warming),
        ("call_ended", "broken"),
        ("answer_ended", 3),
        "aclose",
    ]


def test_no_member_of_an_engine_is_left_out() -> None:
    members = {name for name in vars(Engine) | Engine.__annotations__ if not name.startswith("_")}
    members -= {"not_picklable", "gives_no_hidden_state"}  # make the errors of the wrapping engine itself
    assert members <= set(vars(Wrapped))


def test_what_the_inner_engine_learns_later_is_seen() -> None:
    inner = ScriptedEngine("a", None)
    wrapped = Wrapped(inner)
    assert not wrapped.constrains
    inner.constrains = True
    assert wrapped.constrains
    wrapped.warns_without_commands = False
    assert not inner.warns_without_commands and not wrapped.warns_without_commands


def test_an_overridden_stream_is_not_bypassed_by_warming() -> None:
    assert Wrapped(ScriptedEngine("a", None)).warmable
    assert not Shouting(ScriptedEngine("a", None)).warmable
    assert WarmShouting(ScriptedEngine("a", None)).warmable


@pytest.mark.parametrize("warming", ["on", "off"])
@pytest.mark.parametrize("wrap", [Wrapped, Shouting, WarmShouting])
async def test_a_wrapped_teacher_answers(qwen3: Tokenizer, wrap: type[Wrapped], warming: Any) -> None:
    student = ScriptedEngine(["It is <call>2</call>", "."], qwen3)
    async with Relay(
        student, wrap(ScriptedEngine(" two words", qwen3)), settings=RelaySettings(warming=warming)
    ) as relay:
        result = await relay.agenerate("?")
    assert result.segments[-2].text == (" two words" if wrap is Wrapped else " TWO WORDS")


async def test_wrappers_nest(qwen3: Tokenizer) -> None:
    tokens, _ = await collect(Wrapped(Shouting(ScriptedEngine("abc", qwen3))), Prompt("Q"), Sampling(9))
    assert text_of(tokens) == "ABC"


def test_the_example_runs() -> None:
    documented = inspect.cleandoc(Wrapped.__doc__ or "")
    block = documented.partition("::\n")[2].partition("\nArgs:")[0]
    names: dict[str, Any] = {}
    exec(textwrap.dedent(block), names)
    assert names["result"].usage.student_tokens == 64
