"""An endpoint that ends, breaks, counts and writes its events in random ways: what comes of an answer.

The endpoint has one right answer, and each request is answered from the point that its prompt has reached. Whatever it
does, no answer is silently empty, repeated, cut or without end, and the requests are bounded by ``retries``.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay_core.engines.openai import OpenAIEngine
from relay_core.engines.openai.probe import Endpoint
from relay_core.engines.openai.protocol import RUNNING_USAGE, USAGE, Dialect, Mode
from relay_core.errors import EngineError
from relay_core.events import FinishReason, RelayResult
from relay_core.relay import Relay
from relay_core.tokenizer import Tokenizer
from relay_core.tool_parser import parse_answer
from testing.faults import event
from testing.faulty_proxy import Exchange, FaultyProxy

_TURN = re.compile(r"<\|im_start\|>assistant\n(?:<think>\n\n</think>\n\n)?")
WORDS = [f"w{i} " for i in range(12)]
ANSWER = "".join(WORDS)
RETRIES = 2
OVER = ("done", "stop", "stop and done", "length", "eos", "eos and done", "stop and silence", "stop and garbage")
BROKEN = ("end", "reset", "silence", "garbage", "error 503", "abort")
LIES = (None, 0, 1, -1, True, 3.5, "7", 10**400, 10**8)


@dataclass
class Plan:
    """How one request is answered: an HTTP status, or some words in some shape, and an ending."""

    status: int = 200
    words: int = 99
    ending: str = "stop and done"
    shape: str = "text"
    reasoning: int = 0
    hints: bool = False
    line_end: bytes = b"\n"
    extras: tuple[bytes, ...] = ()
    cut: int = 10**9  # bytes of each write
    completion_tokens: Any = None
    tool_calls: list[Any] = field(default_factory=list)


PLANS = st.builds(
    Plan,
    status=st.sampled_from([200] * 12 + [500, 429, 404]),
    words=st.sampled_from([0, 1, 2, 5, 99]),
    ending=st.sampled_from([*OVER, *BROKEN, "error 400"]),
    shape=st.sampled_from(["text", "parts", "message", "events without blank lines"]),
    reasoning=st.sampled_from([0, 0, 0, 3]),
    hints=st.sampled_from([False, False, True]),
    line_end=st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"]),
    extras=st.lists(
        st.sampled_from(
            [b": keep-alive\n\n", b"data:\n\n", b"id: 7\nretry: 9\nx: y\n\n", event({"a": 1}), event({"choices": []})]
        ),
        max_size=2,
    ).map(tuple),
    cut=st.sampled_from([10**9, 10**9, 7, 40]),
    completion_tokens=st.sampled_from(LIES),
)


class BentEndpoint:
    """Answers each request by the next plan; the last plan answers all further ones.

    ``position`` is how many characters of the answer the latest response had behind it when it ended.
    """

    def __init__(self, plans: list[Plan], mode: Mode, tokenizer: Tokenizer) -> None:
        self.plans, self.mode, self.tokenizer = plans, mode, tokenizer
        self.requests = 0
        self.position = 0
        self.plan = plans[0]

    async def __call__(self, exchange: Exchange) -> None:
        plan = self.plan = self.plans[min(self.requests, len(self.plans) - 1)]
        self.requests += 1
        if plan.status != 200:
            body = json.dumps({"error": {"message": "made up", "code": plan.status}}).encode()
            await exchange.answer(plan.status, {"Content-Type": "application/json"}, body)
            return
        begin = self.written(exchange.request.json)
        assert ANSWER.startswith(begin), "the request holds what came, once"
        left = WORDS[len(begin.split()) :] if begin == "".join(WORDS[: len(begin.split())]) else [ANSWER[len(begin) :]]
        words = left[: plan.words]
        self.position = len(begin) + len("".join(words))
        await exchange.begin()
        for data in self.events(plan, words):
            data = data.replace(b"\n", plan.line_end)
            for i in range(0, len(data), plan.cut):
                await exchange.chunk(data[i : i + plan.cut])
        if plan.ending == "reset":
            exchange.reset()
        elif plan.ending in ("silence", "stop and silence"):
            await asyncio.Event().wait()
        else:
            await exchange.end()

    def written(self, body: dict[str, Any]) -> str:
        """The answer so far, as the request has it."""
        if self.mode in (Mode.IDS, Mode.COMPLETIONS):
            prompt = body["prompt"]
            text = prompt if isinstance(prompt, str) else self.tokenizer.decode(prompt, control=True)
            return _TURN.split(text)[-1]
        return "".join(message["content"] for message in body["messages"] if message["role"] == "assistant")

    def events(self, plan: Plan, words: list[str]) -> Iterator[bytes]:
        yield from plan.extras
        if self.mode in (Mode.CHAT, Mode.CHAT_CONTINUE):
            for _ in range(plan.reasoning):
                yield self.event(plan, {"delta": {"reasoning_content": "hm"}})
        for word in words:
            yield self.event(plan, self.choice(plan, word), "length" if plan.hints else None)
            yield from plan.extras
        for call in plan.tool_calls:
            yield self.event(plan, {"delta": {"tool_calls": [call]}})
        reason = next((name for name in ("stop", "length", "eos", "abort") if plan.ending.startswith(name)), None)
        if reason is not None:
            yield self.event(plan, self.choice(plan, ""), reason)
        if plan.ending.startswith("error"):
            yield event({"error": {"message": "made up", "code": int(plan.ending[6:])}})
        if plan.ending.endswith("garbage"):
            yield b"data: {]\n\n"
        if plan.ending.endswith("done"):
            yield event("[DONE]")

    def choice(self, plan: Plan, text: str) -> dict[str, Any]:
        if self.mode is Mode.IDS:
            return {"text": text, "token_ids": self.tokenizer.encode(text)}
        if self.mode is Mode.COMPLETIONS:
            return {"text": text}
        content = [{"type": "text", "text": text}] if plan.shape == "parts" else text
        return {"message" if plan.shape == "message" else "delta": {"content": content}}

    def event(self, plan: Plan, choice: dict[str, Any], reason: str | None = None) -> bytes:
        usage = {"prompt_tokens": 1, "completion_tokens": plan.completion_tokens}
        data = event({"choices": [{**choice, "finish_reason": reason}], "usage": usage})
        return data[:-1] if plan.shape == "events without blank lines" else data


@pytest.fixture(autouse=True, scope="module")
def short_waits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("relay_core.engines.openai.response._USAGE_WAIT_S", 0.05)
        yield


async def ask(
    bent: BentEndpoint, max_tokens: int, running_usage: bool = False, **prompt: Any
) -> RelayResult | EngineError:
    """One answer of a student behind the endpoint, or its error. Only an endpoint that falls silent is left soon."""
    is_silent = any("silence" in plan.ending for plan in bent.plans)
    async with FaultyProxy("http://127.0.0.1:9") as proxy:
        proxy.always = bent
        engine = OpenAIEngine(
            "m", proxy.url, api_key="k", retries=RETRIES, backoff_s=0.001, backoff_max_s=0.002, breaker_after=None,
            first_token_s=0.2 if is_silent else 30,
        )  # fmt: skip
        dialect = Dialect(bent.mode, stream_options=RUNNING_USAGE if running_usage else USAGE)
        engine._adopt(Endpoint(dialect, bent.tokenizer if bent.mode in (Mode.IDS, Mode.COMPLETIONS) else None))
        try:
            async with asyncio.timeout(60):
                return await Relay(engine, None).agenerate(
                    [{"role": "user", "content": "?"}], max_tokens=max_tokens, **prompt
                )
        except EngineError as error:
            return error
        finally:
            await engine.aclose()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    plans=st.lists(PLANS, min_size=1, max_size=6),
    mode=st.sampled_from(list(Mode)),
    max_tokens=st.sampled_from([1000, 1000, 1000, 3]),
    running_usage=st.booleans(),
)
def test_no_answer_is_silently_empty_repeated_cut_or_without_end(
    plans: list[Plan], mode: Mode, max_tokens: int, running_usage: bool, tokenizer: Tokenizer
) -> None:
    bent = BentEndpoint(plans, mode, tokenizer)
    outcome = asyncio.run(ask(bent, max_tokens, running_usage))
    plan = bent.plan
    assert bent.requests <= 1 + 2 * RETRIES, "requests are bounded"
    if isinstance(outcome, EngineError):
        assert outcome.role == "student" and outcome.message
        text = outcome.transcript.reader_text if outcome.transcript is not None else ""
    else:
        text = outcome.text
        assert text, "a success has text"
        assert outcome.usage.completion_tokens <= max_tokens
        if mode is Mode.CHAT:
            assert bent.requests == 1 or not any(p.status == 200 and p.words for p in plans[: bent.requests - 1])
    assert ANSWER.startswith(text), "nothing is repeated, lost or made up"
    if isinstance(outcome, EngineError) or (max_tokens == 3 and outcome.finish_reason is FinishReason.LENGTH):
        return
    if plan.ending != "reset":  # which may lose what was sent
        assert len(text) == bent.position, "nothing is cut"
    if plan.ending not in OVER:  # then only a hint at the end, or a note, makes it a success
        assert outcome.finish_reason is FinishReason.LENGTH
        assert plan.hints or "student_broken" in outcome.notes
    elif plan.ending.startswith("eos"):
        assert "'eos'" in outcome.notes["student_finish_reason"]


NAMES = st.sampled_from(["f", "g", "</tool_call>"])
VALUES = st.sampled_from(
    ["</tool_call>", "<call>9</call>", "</call>", "<", '"}', "tea", "\n", "STOP", 7, None, [], {"a": 1}]
)
ARGUMENTS = st.dictionaries(st.sampled_from(["a", "<b>", "STOP"]), VALUES, max_size=2)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    calls=st.lists(st.tuples(NAMES, ARGUMENTS), min_size=1, max_size=3),
    mode=st.sampled_from([Mode.CHAT, Mode.CHAT_CONTINUE]),
    ending=st.sampled_from(["stop and done", "done", "eos", "stop and garbage"]),
    known_by=st.sampled_from(["index", "id", "neither"]),
    form=st.sampled_from(["text", "object", "parts"]),
    words=st.integers(0, 3),
    stop=st.sampled_from([[], ["STOP"], ["</call>"], ["name"], ["}"]]),
)
def test_tool_calls_arrive_whole(
    calls: list[tuple[str, Any]], mode: Mode, ending: str, known_by: str, form: str, words: int, stop: list[str],
    tokenizer: Tokenizer,
) -> None:  # fmt: skip
    deltas: list[Any] = []
    for i, (name, arguments) in enumerate(calls):
        number = {"index": i if known_by == "index" else 0} if known_by != "neither" else {}
        first = {**number, "id": f"call_{i}"} if known_by == "id" else number
        text = json.dumps(arguments, ensure_ascii=False)
        if form == "parts":
            deltas.append({**first, "function": {"name": name, "arguments": ""}})
            deltas += [{**number, "function": {"arguments": part}} for part in (text[:3], text[3:])]
        else:
            deltas.append({**first, "function": {"name": name, "arguments": arguments if form == "object" else text}})
    bent = BentEndpoint([Plan(words=words, ending=ending, tool_calls=deltas)], mode, tokenizer)
    outcome = asyncio.run(ask(bent, 1000, stop=stop, tools=[{"name": "f"}, {"name": "g"}]))
    assert isinstance(outcome, RelayResult), outcome
    parsed = parse_answer(outcome.text)
    assert [(call.name, call.arguments) for call in parsed.tool_calls] == calls
    assert not parsed.invalid_tool_calls
    assert parsed.content.split() == [word.strip() for word in WORDS[:words]]
    assert bent.requests == 1
