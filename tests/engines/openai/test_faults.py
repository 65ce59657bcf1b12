"""Faults between an engine and a real vLLM server, injected by a proxy.

After every fault the stream has the right tokens, or there is a clear error in good time.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from relay_core.engines.base import BreakerState, Chunk, Finish, Prompt, Sampling, Token
from relay_core.engines.openai import OpenAIEngine
from relay_core.engines.openai.probe import Endpoint
from relay_core.engines.openai.retries import Patience
from relay_core.engines.scripted import Delay, ScriptedEngine
from relay_core.errors import ConfigurationError, ContextOverflow, EngineError
from relay_core.events import CallEnded, Finished, RelayResult
from relay_core.relay import Relay
from relay_core.tokenizer import Tokenizer
from testing import streams
from testing.faults import (
    at_once,
    change,
    cut_after,
    cut_after_tokens,
    headers_then_silence,
    insert_after,
    late,
    silence,
    stall_after,
    status,
)
from testing.faulty_proxy import Exchange, FaultyProxy, pass_through
from testing.servers import free_port

pytestmark = pytest.mark.timeout(500)  # the first test waits for the server

N = 12
Make = Callable[..., Awaitable[OpenAIEngine]]
ENDPOINTS: dict[str, Endpoint] = {}  # by mode; each is probed once, since test_engine.py tests probing


@pytest.fixture
async def engine(proxy: FaultyProxy, tokenizer: Tokenizer) -> AsyncIterator[Make]:
    """Builds engines that need not probe and wait briefly between attempts; all are closed at the end."""
    built: list[OpenAIEngine] = []

    async def make(url: str = proxy.url, *, mode: str = "ids", **options: Any) -> OpenAIEngine:
        if mode not in ENDPOINTS:
            prober = OpenAIEngine("tiny", proxy.upstream + "/v1", tokenizer=tokenizer, mode=mode, first_token_s=300)
            await prober.start()
            assert prober._endpoint is not None
            ENDPOINTS[mode] = prober._endpoint
            await prober.aclose()
        options = {"backoff_s": 0.01, "backoff_max_s": 0.05, **options}
        built.append(OpenAIEngine("tiny", url, mode=mode, tokenizer=tokenizer, **options))
        built[-1]._adopt(ENDPOINTS[mode])
        return built[-1]

    yield make
    for each in built:
        await each.aclose()


async def collect(engine: OpenAIEngine, prompt: Prompt, n: int = N, **sampling: Any) -> tuple[list[Token], Chunk]:
    """All tokens of a stream, and its last chunk."""
    return await streams.collect(engine, prompt, Sampling(n, **sampling))


@pytest.fixture
async def expected(engine: Make, vllm_url: str, prompt: Prompt) -> list[int | None]:
    """The ids that come without any fault."""
    return [t.id for t in (await collect(await engine(vllm_url + "/v1"), prompt))[0]]


@pytest.fixture
def ask(tokenizer: Tokenizer) -> Callable[[OpenAIEngine], Any]:
    """Builds one answer of a relay whose student calls the teacher once."""

    async def one(teacher: OpenAIEngine, **settings: Any) -> RelayResult:
        student = ScriptedEngine([["It is <call>5</call>"], [" So."]], tokenizer)
        return await Relay(student, teacher).agenerate("Add 2 and 3.", **settings)

    return one


# -- the endpoint cannot be reached --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and a self-signed certificate for 127.0.0.1."""
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
               "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", file, "-out", str(file) + ".crt"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + Path(str(file) + ".crt").read_bytes())
    return file


@pytest.fixture
async def tls_proxy(vllm_url: str, certificate: Path) -> AsyncIterator[FaultyProxy]:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with FaultyProxy(vllm_url, tls=context) as between:
        yield between


@pytest.mark.parametrize("failure", ["refused", "dns", "tls"])
async def test_unreachable_then_the_student_goes_on(
    failure: str, engine: Make, ask: Any, tls_proxy: FaultyProxy
) -> None:
    urls = {
        "refused": f"http://127.0.0.1:{free_port()}/v1",
        "dns": "http://no-such-host.invalid/v1",
        "tls": tls_proxy.url,
    }
    causes = {"refused": "ConnectionRefusedError", "dns": "gaierror", "tls": "CERTIFICATE_VERIFY_FAILED"}
    url = urls[failure]
    teacher = await engine(url, retries=2, total_s=20)
    began = time.monotonic()
    result = await ask(teacher)
    assert time.monotonic() - began < 20
    assert result.text == "It is  So."
    assert result.usage.failed_calls == 1
    [reason] = result.failures
    assert url in reason
    assert "gave up after 3 attempts" in reason
    assert causes[failure] in reason


async def test_a_private_ca_is_trusted(engine: Make, tls_proxy: FaultyProxy, certificate: Path, prompt: Prompt) -> None:
    tokens, _ = await collect(await engine(tls_proxy.url, verify=str(certificate) + ".crt"), prompt, 3)
    assert len(tokens) == 3
    with pytest.raises(ConfigurationError, match="verify"):
        OpenAIEngine("tiny", tls_proxy.url, verify="/no/such/file.pem")


# -- the endpoint answers with an error ----------------------------------------------------------------------------


async def test_429_with_retry_after_2(engine: Make, proxy: FaultyProxy, prompt: Prompt, expected: list[int]) -> None:
    proxy.faults.append(status(429, {"Retry-After": "2"}))
    tokens, _ = await collect(await engine(), prompt)
    assert [t.id for t in tokens] == expected
    first, second = proxy.generating
    assert 2.0 <= second.arrived_at - first.arrived_at < 6.0


async def test_retry_after_beyond_the_deadline_fails_at_once(engine: Make, proxy: FaultyProxy, prompt: Prompt) -> None:
    teacher = await engine(total_s=5.0)
    proxy.faults.append(status(503, {"Retry-After": "3600"}))
    began = time.monotonic()
    with pytest.raises(EngineError, match="503"):
        await collect(teacher, prompt)
    assert time.monotonic() - began < 4


async def test_500_three_times_then_an_answer(
    engine: Make, proxy: FaultyProxy, prompt: Prompt, expected: list[int]
) -> None:
    proxy.faults += [status(500), status(502), status(500)]
    tokens, last = await collect(await engine(), prompt)
    assert [t.id for t in tokens] == expected
    assert last.finish is Finish.LENGTH
    assert not last.notes
    assert last.usage is not None
    assert last.usage.prompt_tokens == len(prompt.token_ids or ())
    assert len(proxy.generating) == 4


@pytest.mark.parametrize(
    ("code", "names"), [(401, "api_key="), (403, "api_key="), (404, "model="), (400, "400"), (422, "422")]
)
async def test_configuration_mistakes_are_not_retried(
    code: int, names: str, engine: Make, proxy: FaultyProxy, prompt: Prompt
) -> None:
    teacher = await engine(api_key="sk-very-secret")
    proxy.faults.append(status(code, message="Incorrect API key provided: sk-very-secret"))
    with pytest.raises(EngineError, match=names) as error:
        await collect(teacher, prompt)
    assert len(proxy.generating) == 1
    assert "sk-very-secret" not in str(error.value) + repr(teacher) + str(teacher.describe()) + repr(teacher._address)
    assert teacher.breaker is BreakerState.CLOSED


async def test_a_model_that_is_not_served(proxy: FaultyProxy, tokenizer: Tokenizer, ask: Any) -> None:
    teacher = OpenAIEngine("large", proxy.url, tokenizer=tokenizer)
    with pytest.raises(ConfigurationError, match=r"large.*404.*the endpoint serves tiny"):
        await teacher.start()
    result = await ask(teacher)
    assert result.text == "It is  So."
    assert "the endpoint serves tiny" in result.failures[0]
    await teacher.aclose()


@pytest.mark.parametrize("mode", ["ids", "completions", "chat-continue"])
async def test_a_context_too_long_drops_the_call_not_the_answer(mode: str, engine: Make, tokenizer: Tokenizer) -> None:
    teacher = await engine(mode=mode)
    text = "2 + 3 = 5. " * 120  # about 900 tokens; 512 fit
    long = Prompt(text, tokenizer.encode(text), [{"role": "user", "content": text}], "So")
    with pytest.raises(ContextOverflow):
        await collect(teacher, long)
    student = ScriptedEngine([["It is <call>5</call>"], [" So."]], tokenizer)
    result = await Relay(student, teacher).agenerate(text)
    assert result.text == "It is  So."
    assert result.usage.failed_calls == 1


# -- the stream falls silent or breaks -----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [headers_then_silence, silence])
async def test_silence_ends_at_the_first_token_deadline(
    fault: Any, engine: Make, proxy: FaultyProxy, prompt: Prompt, expected: list[int]
) -> None:
    hasty = await engine(first_token_s=5.0)
    proxy.faults.append(fault)
    began = time.monotonic()
    tokens, _ = await collect(hasty, prompt)
    assert time.monotonic() - began >= 5.0
    assert [t.id for t in tokens] == expected
    assert proxy.generating[0].abandoned_at is not None


async def test_lasting_silence_is_an_error_in_time(engine: Make, proxy: FaultyProxy, prompt: Prompt) -> None:
    teacher = await engine(retries=1, first_token_s=0.4)
    proxy.faults += [headers_then_silence] * 2
    began = time.monotonic()
    with pytest.raises(EngineError, match=r"nothing for 0\.4 s \(gave up after 2 attempts"):
        await collect(teacher, prompt)
    assert time.monotonic() - began < 5


async def test_calls_that_time_out_open_the_breaker(engine: Make, proxy: FaultyProxy, ask: Any) -> None:
    teacher = await engine(breaker_after=2)
    proxy.faults += [headers_then_silence] * 2
    reasons = [(await ask(teacher, teacher_timeout_s=0.2)).failures for _ in range(3)]
    assert reasons[0] == ["no complete answer within 0.2 s"]
    assert reasons[1][0].startswith("no complete answer within 0.2 s; the last failure: ")
    assert "the circuit breaker is open after 2 failures in a row" in reasons[2][0]
    assert teacher.breaker is BreakerState.OPEN
    assert len(proxy.generating) == 2


async def test_a_call_that_times_out_names_the_last_failure_of_its_attempts(engine: Make, ask: Any) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    result = await ask(await engine(url, backoff_s=60, backoff_max_s=60), teacher_timeout_s=0.5)
    assert result.text == "It is  So."
    [reason] = result.failures
    assert reason.startswith(f"no complete answer within 0.5 s; the last failure: {url} could not be reached")


async def test_a_call_that_times_out_midway_is_no_failure_of_the_endpoint(
    engine: Make, proxy: FaultyProxy, ask: Any
) -> None:
    teacher = await engine(breaker_after=1)
    proxy.faults.append(stall_after(2))
    result = await ask(teacher, teacher_timeout_s=3.0)
    assert result.failures == ["no complete answer within 3.0 s"]
    assert result.calls[0].received > 0
    assert teacher.breaker is BreakerState.CLOSED


@pytest.mark.parametrize("k", [1, 5, N - 1])
@pytest.mark.parametrize("how", ["reset", "clean end"])
async def test_broken_after_k_tokens_goes_on_from_token_k(
    k: int, how: str, engine: Make, proxy: FaultyProxy, prompt: Prompt, expected: list[int]
) -> None:
    proxy.faults.append(cut_after(k, clean=how == "clean end"))
    tokens, last = await collect(await engine(), prompt)
    assert [t.id for t in tokens] == expected
    assert last.notes == {"resumed": 1}
    assert last.usage is not None
    assert last.usage.completion_tokens == N
    first, second = proxy.generating
    assert second.json["prompt"] == [*first.json["prompt"], *expected[:k]]
    assert second.json["max_tokens"] == N - k


async def test_broken_again_and_again(engine: Make, proxy: FaultyProxy, prompt: Prompt, expected: list[int]) -> None:
    proxy.faults += [cut_after(2), status(500), cut_after(3), insert_after(1, b"data: {\n\n"), cut_after(1)]
    tokens, last = await collect(await engine(), prompt)
    assert [t.id for t in tokens] == expected
    assert last.notes == {"resumed": 4}


async def test_a_stall_midway_is_a_break(engine: Make, proxy: FaultyProxy, prompt: Prompt, expected: list[int]) -> None:
    teacher = await engine(first_token_s=4.0)
    proxy.faults.append(stall_after(3))
    tokens, last = await collect(teacher, prompt)
    assert [t.id for t in tokens] == expected
    assert last.notes == {"resumed": 1}


@pytest.mark.parametrize("mode", ["completions", "chat-continue"])
async def test_text_broken_midway_goes_on(mode: str, engine: Make, proxy: FaultyProxy, prompt: Prompt) -> None:
    teacher, n = await engine(mode=mode), 60
    whole = "".join(t.text for t in (await collect(teacher, prompt, n))[0])
    proxy.faults.append(cut_after_tokens(4))
    tokens, last = await collect(teacher, prompt, n)
    assert "".join(t.text for t in tokens) == whole
    assert last.notes == {"resumed": 1}


@pytest.mark.parametrize("mode", ["completions", "chat-continue"])
async def test_text_is_counted_by_the_server_where_it_can(
    mode: str, engine: Make, proxy: FaultyProxy, prompt: Prompt, tokenizer: Tokenizer
) -> None:
    """Encoding the text of several tokens again may give more or fewer tokens."""
    teacher, n, k = await engine(mode=mode), 60, 20
    proxy.faults.append(cut_after_tokens(k, per_event=k))
    tokens, _ = await collect(teacher, prompt, n)
    assert len(tokenizer.encode("".join(t.text for t in tokens[:2]))) != k
    assert proxy.requests[1].json["max_tokens"] == n - k


# -- the endpoint breaks the protocol ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [b"<html>bad gateway</html>\n\n", b'data: {"choices": [{"text": "x\n\n', b"data: [1, 2]\n\n", b"data: \xff\xfe\n\n",
     b'data: {"error": {"message": "overloaded"}}\n\n', b'data: {"choices": "none"}\n\n',
     b'data: {"choices": [{"text": "x", "token_ids": [99999999]}]}\n\n',
     b'data: {"choices": [{"text": "x", "token_ids": "7"}]}\n\n'],
)  # fmt: skip
async def test_malformed_events_are_contained(
    garbage: bytes, engine: Make, proxy: FaultyProxy, prompt: Prompt, expected: list[int]
) -> None:
    proxy.faults.append(insert_after(3, garbage))
    tokens, last = await collect(await engine(), prompt)
    assert [t.id for t in tokens] == expected
    assert last.notes == {"resumed": 1}


async def test_lasting_malformed_events_are_an_error(engine: Make, proxy: FaultyProxy, prompt: Prompt) -> None:
    teacher = await engine(retries=2)
    proxy.faults += [insert_after(0, b"data: {\n\n"), change(lambda _, p: p.update(choices=7))] * 3
    proxy.always = status(500)
    with pytest.raises(EngineError, match="malformed"):
        await collect(teacher, prompt)


async def test_wrong_ids_are_noticed(engine: Make, proxy: FaultyProxy, prompt: Prompt, expected: list[int]) -> None:
    def replace_id(number: int, payload: dict[str, Any]) -> None:
        if number == 1:  # a busy server sends many tokens in few events
            payload["choices"][0]["token_ids"] = [expected[0] if expected[0] != expected[1] else expected[2]]

    proxy.faults.append(change(replace_id))
    tokens, last = await collect(await engine(), prompt)
    assert [t.id for t in tokens] == expected
    assert last.notes == {"resumed": 1}


@pytest.mark.parametrize("mode", ["ids", "completions", "chat-continue"])
async def test_more_tokens_than_requested_are_not_taken(
    mode: str, engine: Make, proxy: FaultyProxy, prompt: Prompt, tokenizer: Tokenizer
) -> None:
    teacher = await engine(mode=mode)
    whole = "".join(t.text for t in (await collect(teacher, prompt, 40))[0])
    right = "".join(t.text for t in (await collect(teacher, prompt, 5))[0])
    proxy.faults.append(change(lambda *_: None, {"max_tokens": 40}))
    tokens, last = await collect(teacher, prompt, 5)
    taken = "".join(t.text for t in tokens)
    assert whole.startswith(taken)
    assert len(tokenizer.encode(taken)) <= 5
    assert mode != "ids" or taken == right, "where text comes, several tokens may come in one event"
    assert last.finish is Finish.LENGTH
    assert last.usage is not None
    assert last.usage.completion_tokens == 5


@pytest.mark.parametrize("mode", ["completions", "chat-continue"])
async def test_tokens_that_come_in_one_event_are_counted(
    mode: str, engine: Make, proxy: FaultyProxy, prompt: Prompt, tokenizer: Tokenizer
) -> None:
    teacher = await engine(mode=mode)
    whole = "".join(t.text for t in (await collect(teacher, prompt, 40))[0])
    proxy.faults.append(at_once({"max_tokens": 40}))
    tokens, last = await collect(teacher, prompt, 5)
    taken = "".join(t.text for t in tokens)
    assert whole.startswith(taken)
    assert 0 < len(tokenizer.encode(taken)) <= 5
    assert last.finish is Finish.LENGTH


@pytest.mark.parametrize("mode", ["completions", "chat-continue"])
@pytest.mark.parametrize(
    "text",
    ["x" * 10_000_000, "a\x00b\x00", "\ud800 lone \udfff", "<|im_end|><|endoftext|></s>[INST]", "<call>9</call>"],
    ids=["10 MB", "null", "surrogates", "control tokens", "a command"],
)  # fmt: skip
async def test_text_stays_text(text: str, mode: str, engine: Make, proxy: FaultyProxy, tokenizer: Tokenizer) -> None:
    def insert_text(number: int, payload: dict[str, Any]) -> None:
        if number == 1 and payload["choices"]:
            choice = payload["choices"][0]
            choice.get("delta", choice)["content" if "delta" in choice else "text"] = text

    teacher = await engine(mode=mode)
    proxy.faults.append(change(insert_text))
    student = ScriptedEngine([["It is <call>50</call>"], [" So."]], tokenizer)
    result = await Relay(student, teacher).agenerate("Add 2 and 3.")
    assert result.failures == []
    assert result.usage.calls == 1, "a command in the teacher's text opens no call"
    assert result.usage.teacher_tokens <= 50
    written = next(s.text for s in result.segments if s.author == "teacher")
    if len(text) < 100:
        assert text.encode("utf-8", "replace").decode().replace("?", "") in written.replace("\ufffd", "").replace(
            "?", ""
        )
    else:
        assert len(written) <= 50 * 256, "50 tokens are never longer"
    follow_up = await collect(
        teacher, Prompt(written, None, [{"role": "user", "content": written[:200]}], written[:200]), 2
    )
    assert follow_up[0], "it can be sent back"


# -- many requests at once, cancelling and hedging -----------------------------------------------------------------


@pytest.mark.timeout(300)
async def test_the_server_dies_under_64_streams(engine: Make, proxy: FaultyProxy, tokenizer: Tokenizer) -> None:
    """A server that is down for 30 s and an engine with the default patience, all times divided by ten."""
    patience = Patience()
    teacher = await engine(
        breaker_open_s=patience.breaker_open_s / 10,
        backoff_s=patience.backoff_s / 10,
        backoff_max_s=patience.backoff_max_s / 10,
        first_token_s=120.0,
    )
    recovered = asyncio.Event()

    def turn(prompt: Prompt) -> list[Any]:
        if prompt.turn < 200 and not (recovered.is_set() and teacher.breaker is BreakerState.CLOSED):
            return [Delay(0.3), "A <call>2</call>"]
        return [" The end."]

    relay = Relay(ScriptedEngine(turn, tokenizer), teacher)
    served, failed = set[int](), set[int]()
    states = set[BreakerState | None]()

    async def answer(i: int) -> RelayResult:
        async for event in relay.astream(f"Question {i}", max_tokens=4096, max_calls=None):  # a slow machine needs many
            if isinstance(event, CallEnded):
                states.add(event.breaker)
                (failed if event.error else served).add(i)
        assert isinstance(event, Finished)
        return event.result

    answers = asyncio.gather(*(answer(i) for i in range(64)))
    await until(lambda: len(served) == 64)
    assert not failed
    await proxy.down()
    await asyncio.sleep(3)
    await until(lambda: len(failed) == 64)
    proxy.faults.append(late(1.0))  # keeps the trial of the half-open breaker in flight for a while
    before = len(proxy.generating)
    await proxy.up()
    await until(lambda: len(proxy.generating) > before)
    await asyncio.sleep(0.5)
    assert teacher.breaker is BreakerState.HALF_OPEN
    assert len(proxy.generating) == before + 1, "one request goes through as a trial"
    recovered.set()
    results = await answers
    assert [r.finish_reason for r in results] == ["stop"] * 64
    assert all(r.text.endswith("The end.") for r in results)
    assert any("circuit breaker is open" in reason for r in results for reason in r.failures)
    assert {BreakerState.CLOSED, BreakerState.OPEN} <= states
    assert teacher.breaker is BreakerState.CLOSED
    after = await relay.agenerate("One more")
    assert after.failures == []


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; the test's time-out bounds the wait."""
    while not condition():
        await asyncio.sleep(0.02)


async def running_requests(vllm_url: str) -> float:
    """The number of requests that the server works on."""
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        metrics = (await client.get(vllm_url + "/metrics")).text
    lines = [line for line in metrics.splitlines() if line.startswith("vllm:num_requests_running")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


async def test_cancelling_ends_both_engines_requests(
    engine: Make, proxy: FaultyProxy, vllm_url: str, tokenizer: Tokenizer
) -> None:
    teacher = await engine()
    proxy.faults.append(stall_after(3))  # the request cannot end by itself
    student = ScriptedEngine([["It is <call>400</call>"]], tokenizer)
    events = Relay(student, teacher).astream("Add 2 and 3.")
    async for event in events:
        if getattr(event, "author", None) == "teacher":
            break
    await events.aclose()
    closed = time.monotonic()
    [request] = proxy.generating
    while request.abandoned_at is None and time.monotonic() < closed + 1:
        await asyncio.sleep(0.01)
    assert request.abandoned_at is not None
    assert student.active == 0
    while await running_requests(vllm_url) and time.monotonic() < closed + 1:
        await asyncio.sleep(0.02)
    assert await running_requests(vllm_url) == 0


async def test_a_late_first_token_is_hedged_and_the_loser_cancelled(
    engine: Make, proxy: FaultyProxy, prompt: Prompt, expected: list[int]
) -> None:
    teacher = await engine(hedge_after_s=1.5)
    proxy.faults.append(late(60))
    tokens, _ = await collect(teacher, prompt)
    assert [t.id for t in tokens] == expected
    assert len(proxy.generating) == 2
    slow = proxy.generating[0]
    until = time.monotonic() + 1
    while slow.abandoned_at is None and time.monotonic() < until:
        await asyncio.sleep(0.01)
    assert slow.abandoned_at is not None


async def test_requests_in_flight_are_bounded_and_take_turns(engine: Make, proxy: FaultyProxy, prompt: Prompt) -> None:
    teacher = await engine(max_in_flight=2)
    in_flight, most, order = 0, 0, list[int]()

    async def counted(exchange: Exchange) -> None:
        nonlocal in_flight, most
        order.append(exchange.request.json["max_tokens"])
        in_flight += 1
        most = max(most, in_flight)
        try:
            await pass_through(exchange)
        finally:
            in_flight -= 1

    proxy.faults += [counted] * 6
    await asyncio.gather(*(collect(teacher, prompt, n) for n in range(5, 11)))
    assert most == 2
    assert order == sorted(order), "first come, first served"


# -- headers, keys, event loops and connections --------------------------------------------------------------------


async def test_headers_query_and_key_are_sent(engine: Make, proxy: FaultyProxy, prompt: Prompt) -> None:
    teacher = await engine(headers={"X-Team": "relay"}, query={"api-version": "7"}, api_key="sk-key")
    await collect(teacher, prompt, 2)
    for request in proxy.requests:
        assert request.headers["x-team"] == "relay"
        assert request.headers["authorization"] == "Bearer sk-key"
        assert "api-version=7" in request.path


async def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, proxy: FaultyProxy) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("RELAY_TEACHER_API_KEY", "sk-of-the-teacher")
    teacher = OpenAIEngine("tiny", proxy.url)
    await teacher.start()
    assert proxy.requests[0].headers["authorization"] == "Bearer sk-of-the-teacher"
    await teacher.aclose()


def test_one_engine_serves_several_event_loops(vllm_url: str, tokenizer: Tokenizer, prompt: Prompt) -> None:
    teacher = OpenAIEngine("tiny", vllm_url + "/v1", tokenizer=tokenizer)
    relay = Relay(ScriptedEngine([["It is <call>5</call>"], [" So."]], tokenizer), teacher)
    texts = {asyncio.run(relay.agenerate("Add 2 and 3.")).text for _ in range(2)}
    texts |= {relay.generate("Add 2 and 3.").text, *(r.text for r in relay.batch(["Add 2 and 3."] * 3))}
    texts |= {event.result.text for event in relay.stream("Add 2 and 3.") if isinstance(event, Finished)}
    assert len(texts) == 1
    assert len(texts.pop()) > len("It is  So.")

    from relay_core import portal

    portal.run(teacher.aclose)


async def test_connections_are_pooled(engine: Make, proxy: FaultyProxy, prompt: Prompt) -> None:
    teacher = await engine()
    ports: set[Any] = set()

    async def record_port(exchange: Exchange) -> None:
        ports.add(exchange.writer.get_extra_info("peername"))
        await pass_through(exchange)

    proxy.faults += itertools.repeat(record_port, 6)
    for _ in range(6):
        await collect(teacher, prompt, 2)
    assert len(ports) == 1
