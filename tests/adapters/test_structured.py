from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import pytest

from relay_core import (
    BudgetError,
    ConfigurationError,
    EngineError,
    Finished,
    Prices,
    Prompt,
    Relay,
    RelayResult,
    RelaySettings,
    ScriptedEngine,
    TextDelta,
    Usage,
)
from relay_core.adapters.structured import constraining_engine, start_constraining_engine, write_json
from relay_core.engines.scripted import Delay
from relay_core.tokenizer import Tokenizer

SCHEMA = {"type": "object", "properties": {"price": {"type": "integer"}}}
MESSAGES = [{"role": "user", "content": "47 * 6?"}]
Make = Callable[..., ScriptedEngine]


@pytest.fixture
def engine(qwen3: Tokenizer) -> Make:
    return lambda script, **options: ScriptedEngine(script, qwen3, record=True, **options)


def answers(prompt: Prompt) -> str:
    """An answer; or, where its JSON is asked for, that."""
    return '{"price": 282}' if "as JSON" in prompt.text else ["It is <call>3</call>", "."][prompt.turn]


async def ask(relay: Relay, by: Any, **settings: Any) -> tuple[RelayResult, list[Any]]:
    finished_settings = RelaySettings(**settings)
    answer = await relay.agenerate(MESSAGES, **settings)
    events = [e async for e in write_json(relay, MESSAGES, answer, SCHEMA, by=by, settings=finished_settings)]
    assert isinstance(events[-1], Finished)
    return answer, events


@pytest.mark.parametrize("by", ["student", "teacher"])
async def test_the_named_side_writes_the_answer_as_json(engine: Make, by: str) -> None:
    relay = Relay(
        engine(answers, constrains=by == "student"),
        engine(lambda p: '{"price": 282}' if "as JSON" in p.text else "282", constrains=by == "teacher"),
    )
    answer, events = await ask(relay, by, prices=Prices(student_output=1, teacher_output=9))
    result = events[-1].result
    assert answer.text == "It is 282."
    assert result.text == '{"price": 282}' == "".join(e.text for e in events if isinstance(e, TextDelta))
    assert {str(s.author) for s in result.segments} == {by}
    assert result.notes["answer"] == answer.text
    prompt, sampling = (relay.student if by == "student" else relay.teacher).requests[-1]  # type: ignore[union-attr]
    assert sampling.json_schema == SCHEMA
    assert "It is 282.<|im_end|>" in prompt.text
    grown = result.usage.completion_tokens - answer.usage.completion_tokens
    assert grown == sum(s.tokens for s in result.segments) > 0
    side = f"{by}_tokens"
    assert getattr(result.usage, side) - getattr(answer.usage, side) == grown
    assert result.cost is not None
    assert answer.cost is not None
    assert result.cost > answer.cost


@pytest.mark.parametrize("by", ["student", "teacher"])
async def test_an_engine_that_cannot_is_refused_by_naming_those_that_can(engine: Make, by: Any) -> None:
    relay = Relay(engine("a"), engine("b"))
    with pytest.raises(ConfigurationError, match=r"VLLMEngine and OpenAIEngine.*function_calling"):
        constraining_engine(relay, by)


async def test_the_other_side_is_named_where_it_can(engine: Make) -> None:
    with pytest.raises(ConfigurationError, match="structured_by='teacher' would do"):
        constraining_engine(Relay(engine("a"), engine("b", constrains=True)), "student")


@pytest.mark.parametrize(("by", "message"), [("teacher", "no teacher"), ("both", "write 'student' or 'teacher'")])
async def test_a_side_that_is_not_there_is_refused(engine: Make, by: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        constraining_engine(Relay(engine("a"), None), by)


async def test_without_calls_the_teacher_writes_nothing(engine: Make) -> None:
    relay = Relay(engine("a"), engine("b", constrains=True))
    with pytest.raises(ConfigurationError, match="calls=False"):
        await ask(relay, "teacher", calls=False)


async def test_budgets_hold_for_answer_and_json_together(engine: Make) -> None:
    relay = Relay(engine(answers, constrains=True), engine("282", constrains=True))
    answer, events = await ask(relay, "student", max_tokens=16)
    result = events[-1].result
    assert answer.usage.completion_tokens < 16
    assert result.usage.completion_tokens == 16
    assert result.finish_reason == "length"
    _, events = await ask(relay, "teacher", max_teacher_tokens=4)
    assert events[-1].result.usage.teacher_tokens == 4
    with pytest.raises(BudgetError, match="raise max_tokens"):
        await ask(relay, "student", max_tokens=12)


async def test_the_deadline_holds_for_both_together(engine: Make) -> None:
    def slow(prompt: Prompt) -> Any:
        return ['{"a', Delay(60), '": 1}'] if "as JSON" in prompt.text else "So."

    _, events = await ask(Relay(engine(slow, constrains=True), None), "student", deadline_s=2.0)
    result = events[-1].result
    assert (result.text, result.finish_reason) == ('{"a', "deadline")


class SlowToStart(ScriptedEngine):
    async def start(self) -> None:
        await asyncio.sleep(60)


async def test_the_deadline_may_pass_before_the_engine_has_started(engine: Make, qwen3: Tokenizer) -> None:
    settings = RelaySettings(deadline_s=1.0)
    answer = await Relay(engine("So."), None).agenerate(MESSAGES)
    relay = Relay(SlowToStart("{}", qwen3, constrains=True), None)
    *_, last = [e async for e in write_json(relay, MESSAGES, answer, SCHEMA, by="student", settings=settings)]
    assert isinstance(last, Finished)
    assert (last.result.text, last.result.finish_reason) == ("", "deadline")
    assert last.result.usage == answer.usage + Usage(student_cached_tokens=None, teacher_cached_tokens=0)


class Endpoint(ScriptedEngine):
    """What it can do is found out when it starts."""

    async def start(self) -> None:
        self.constrains = False


async def test_an_endpoint_that_turns_out_not_to_constrain_is_refused(qwen3: Tokenizer) -> None:
    relay = Relay(Endpoint("a", qwen3, constrains=True), None)
    assert constraining_engine(relay, "student") is relay.student
    with pytest.raises(ConfigurationError, match="'completions'"):
        await start_constraining_engine(relay, "student", SCHEMA)


async def test_an_engine_that_pays_no_heed_to_the_schema_is_found_out(engine: Make) -> None:
    with pytest.raises(EngineError, match=r"student: it was given a schema, but wrote no JSON.*'Sure: 282'"):
        await ask(Relay(engine("Sure: 282", constrains=True), None), "student")


async def test_the_time_of_a_template_is_within_the_deadline(engine: Make, qwen3: Tokenizer) -> None:
    endless = Tokenizer(copy.copy(qwen3.hf), "endless")
    endless.hf.chat_template = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    relay = Relay(engine("282"), ScriptedEngine('{"price": 282}', endless, constrains=True))
    _, events = await ask(relay, "teacher", deadline_s=0.5)
    assert events[-1].result.finish_reason == "deadline"
