"""Engines on two real servers that were written by others: vLLM's and transformers'."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from relay_core.adapters.structured import write_json
from relay_core.engines.base import Finish, Prompt, Sampling
from relay_core.engines.openai import OpenAIEngine
from relay_core.engines.openai.protocol import Mode
from relay_core.engines.scripted import ScriptedEngine
from relay_core.engines.spec import engine_from_spec
from relay_core.engines.transformers import TransformersEngine
from relay_core.errors import ConfigurationError, ContextOverflow
from relay_core.events import Finished
from relay_core.relay import Relay
from relay_core.settings import RelaySettings
from relay_core.tokenizer import Tokenizer
from testing.faults import status
from testing.faulty_proxy import Exchange, FaultyProxy, pass_through
from testing.streams import collect, text_of

pytestmark = pytest.mark.timeout(500)  # the first tests wait for the servers

TEXT = "<|im_start|>user\nAdd 2 and 3.<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
MESSAGES = [{"role": "user", "content": "Add 2 and 3."}]


def refusing(*refused: Callable[[Exchange], bool]) -> Any:
    """A fault: the server refuses some requests, as one with fewer features than vLLM does."""

    async def fault(exchange: Exchange) -> None:
        if any(is_refused(exchange) for is_refused in refused):
            await status(400, message="unknown here")(exchange)
        else:
            await pass_through(exchange)

    return fault


def lists_models(exchange: Exchange) -> bool:
    return exchange.request.path.endswith("/models")


def gives_ids(exchange: Exchange) -> bool:
    return "return_token_ids" in exchange.request.json


def continues(exchange: Exchange) -> bool:
    return "continue_final_message" in exchange.request.json


def completes_text(exchange: Exchange) -> bool:
    return exchange.request.path.endswith("/v1/completions")


@pytest.fixture
async def engines() -> AsyncIterator[Callable[..., OpenAIEngine]]:
    """Builds engines; all are closed at the end."""
    built: list[OpenAIEngine] = []

    def build(*args: Any, **options: Any) -> OpenAIEngine:
        built.append(OpenAIEngine(*args, **{"first_token_s": 300.0, "backoff_s": 0.01, **options}))
        return built[-1]

    yield build
    for engine in built:
        await engine.aclose()


# -- vLLM ----------------------------------------------------------------------------------------------------------


async def test_vllm_takes_and_gives_ids(engines: Any, vllm_url: str, tokenizer: Tokenizer) -> None:
    engine = engines("tiny", vllm_url + "/v1", logprobs=True)
    assert (engine.mode, engine.tokenizer) == (None, None)
    await engine.start()
    assert engine.mode is Mode.IDS
    assert engine.context_length == 512
    assert engine.speaks_ids
    assert tokenizer.shares_vocabulary(engine.tokenizer), "the tokenizer in the folder of weights"
    description = engine.describe()
    assert (description["mode"], description["approximate"], description["breaker"]) == ("ids", False, "closed")
    json.dumps(description)
    ids = tokenizer.encode(TEXT)
    tokens, last = await collect(engine, Prompt(TEXT, ids, MESSAGES), Sampling(8))
    assert len(tokens) == 8
    assert all(t.id is not None and t.logprob is not None and t.logprob <= 0 for t in tokens)
    assert text_of(tokens) == tokenizer.decode([t.id for t in tokens if t.id is not None])
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (len(ids), 8)
    _, last = await collect(engine, Prompt(TEXT * 12, ids * 12, MESSAGES), Sampling(1))
    _, last = await collect(engine, Prompt(TEXT * 12, ids * 12, MESSAGES), Sampling(1))
    assert last.usage is not None
    assert last.usage.cached_tokens, "the second time most of the prompt is cached"


@pytest.mark.parametrize(
    ("refused", "mode"),
    [((lists_models,), Mode.IDS), ((gives_ids,), Mode.COMPLETIONS), ((completes_text,), Mode.CHAT_CONTINUE),
     ((completes_text, continues), Mode.CHAT)],
)  # fmt: skip
async def test_the_best_mode_that_works_is_found(
    refused: Any, mode: Mode, engines: Any, proxy: FaultyProxy, tokenizer: Tokenizer
) -> None:
    proxy.always = refusing(*refused)
    engine = engines("tiny", proxy.url, tokenizer=tokenizer)
    await engine.start()
    assert engine.mode is mode
    assert set(engine.describe()["passed_over"]) == set(list(Mode)[: list(Mode).index(mode)])
    ids = tokenizer.encode(TEXT)
    tokens, last = await collect(engine, Prompt(TEXT, ids, MESSAGES), Sampling(6))
    direct, _ = await collect(engines("tiny", proxy.upstream + "/v1"), Prompt(TEXT, ids, MESSAGES), Sampling(6))
    assert text_of(tokens) == text_of(direct), "a prompt without a continuation gives the same in every mode"
    assert last.finish is Finish.LENGTH
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (len(ids), 6)
    assert ("approximate" in last.notes) is (mode is Mode.CHAT)


async def test_the_list_of_models_may_fail(engines: Any, proxy: FaultyProxy, tokenizer: Tokenizer) -> None:
    async def fault(exchange: Exchange) -> None:
        await (status(500) if lists_models(exchange) else pass_through)(exchange)

    proxy.always = fault
    engine = engines("tiny", proxy.url, tokenizer=tokenizer)
    await engine.start()
    assert engine.mode is Mode.IDS


async def test_without_a_tokenizer_chat_is_continued(engines: Any, proxy: FaultyProxy, tokenizer: Tokenizer) -> None:
    proxy.always = refusing(lists_models)
    engine = engines("tiny", proxy.url)
    await engine.start()
    assert engine.mode is Mode.CHAT_CONTINUE
    assert "tokenizer=" in engine.describe()["passed_over"]["ids"]
    for written in ("The sum", "The sum is ", "Sum:\n"):
        ids = tokenizer.encode(TEXT + written)
        tokens, last = await collect(engine, Prompt("", None, MESSAGES, written), Sampling(6))
        direct, _ = await collect(engines("tiny", proxy.upstream + "/v1"), Prompt(TEXT, ids), Sampling(6))
        assert last.usage is not None
        if not written.endswith("\n"):  # Qwen's template strips newlines at the end of a message
            assert last.usage.prompt_tokens == len(ids)
            assert text_of(tokens) == text_of(direct)


async def test_the_chosen_mode_is_used_or_refused(engines: Any, proxy: FaultyProxy, tokenizer: Tokenizer) -> None:
    chat = engines("tiny", proxy.url, mode="chat")
    await chat.start()
    assert chat.mode is Mode.CHAT
    proxy.always = refusing(gives_ids)
    with pytest.raises(ConfigurationError, match=r"tiny cannot be used in mode 'ids': ids: .*unknown here"):
        await engines("tiny", proxy.url, mode="ids", tokenizer=tokenizer).start()


async def test_a_tokenizer_that_is_not_the_models_is_refused(engines: Any, vllm_url: str, qwen3: Tokenizer) -> None:
    with pytest.raises(ConfigurationError, match="tokenizer="):
        await engines("tiny", vllm_url + "/v1", tokenizer=qwen3).start()


@pytest.mark.parametrize("mode", ["ids", "completions", "chat-continue"])
async def test_a_stop_string_ends_with_its_whole_token(
    mode: str, engines: Any, vllm_url: str, tokenizer: Tokenizer
) -> None:
    engine = engines("tiny", vllm_url + "/v1", mode=mode, tokenizer=tokenizer)
    prompt = Prompt(TEXT, tokenizer.encode(TEXT), MESSAGES)
    tokens, _ = await collect(engine, prompt, Sampling(20))
    stop = text_of(tokens)[8:11]
    stopped, last = await collect(engine, prompt, Sampling(20, stop=(stop,)))
    assert last.finish is Finish.STOP
    assert text_of(tokens).startswith(text_of(stopped))
    assert mode != "ids" or stopped == tokens[: len(stopped)]  # a text may be that of several tokens
    assert stop in text_of(stopped)
    assert stop not in text_of(stopped[:-1])


@pytest.mark.parametrize("mode", [Mode.IDS, Mode.CHAT_CONTINUE, Mode.CHAT])
async def test_a_schema_is_followed(engines: Any, vllm_url: str, tokenizer: Tokenizer, mode: Mode) -> None:
    engine = engines("tiny", vllm_url + "/v1", mode=mode)
    await engine.start()
    assert engine.constrains
    schema = {"enum": ["yes", "no"]}
    prompt = Prompt(TEXT, tokenizer.encode(TEXT), MESSAGES)
    tokens, _ = await collect(engine, prompt, Sampling(40, json_schema=schema))
    assert json.loads(text_of(tokens)) in ("yes", "no")


@pytest.mark.parametrize("by", ["student", "teacher"])
async def test_an_answer_is_written_again_as_json(engines: Any, vllm_url: str, by: Any) -> None:
    ids, chat = engines("tiny", vllm_url + "/v1"), engines("tiny", vllm_url + "/v1", mode="chat-continue")
    settings = RelaySettings(max_tokens=60)
    relay = Relay(ids, chat, settings)
    answer = await relay.agenerate(MESSAGES, max_tokens=8)
    again = write_json(relay, MESSAGES, answer, {"enum": ["yes", "no"]}, by=by, settings=settings)
    *_, last = [event async for event in again]
    assert isinstance(last, Finished)
    assert json.loads(last.result.text) in ("yes", "no")
    assert {str(segment.author) for segment in last.result.segments} == {by}


async def test_a_relay_of_two_endpoints(engines: Any, vllm_url: str) -> None:
    relay = Relay(engines("tiny", vllm_url + "/v1"), engines("tiny", vllm_url + "/v1", mode="chat-continue"))
    result = await relay.agenerate("Add 2 and 3.", max_tokens=12)
    assert result.usage.student_tokens == 12
    assert result.usage.prompt_tokens > 0


def test_what_cannot_be_used_is_refused_when_the_engine_is_built() -> None:
    for options in ({"base_url": "localhost:8000"}, {"mode": "magic"}, {"retrys": 3}, {"retries": -1}, {"model": ""}):
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            OpenAIEngine(**{"model": "m", "base_url": "http://x/v1", **options})
    assert engine_from_spec("openai:org/m@http://host:8000/v1").spec == "openai:org/m@http://host:8000/v1"


# -- transformers serve --------------------------------------------------------------------------------------------


async def test_transformers_serve_completes_text(
    engines: Any, transformers_url: str, tiny_model: Path, tokenizer: Tokenizer
) -> None:
    engine = engines(str(tiny_model), transformers_url + "/v1", tokenizer=tokenizer)
    await engine.start()
    assert engine.mode is Mode.COMPLETIONS, engine.describe()
    tokens, last = await collect(engine, Prompt(TEXT, tokenizer.encode(TEXT), MESSAGES), Sampling(6))
    assert last.finish is Finish.LENGTH
    assert last.usage is not None
    assert last.usage.completion_tokens == 6
    chat = engines(str(tiny_model), transformers_url + "/v1", mode="chat")
    chat_tokens, last = await collect(chat, Prompt("", None, MESSAGES), Sampling(6))
    # streaming chat, `transformers serve` repeats the line breaks that its template puts after </think>; they count
    # as tokens, so fewer tokens of the answer come
    beginning = text_of(chat_tokens).removeprefix("\n\n")
    assert beginning and text_of(tokens).startswith(beginning)
    assert "approximate" in last.notes


async def test_a_relay_with_transformers_serve_as_teacher(
    engines: Any, transformers_url: str, tiny_model: Path, tokenizer: Tokenizer
) -> None:
    teacher = engines(str(tiny_model), transformers_url + "/v1", tokenizer=tokenizer)
    result = await Relay(ScriptedEngine([["It is <call>5</call>"], [" So."]], tokenizer), teacher).agenerate("Hi")
    assert result.failures == []
    assert result.usage.teacher_tokens == 5
    assert result.text.startswith("It is ")
    assert result.text.endswith(" So.")


async def test_scores_of_a_given_text_are_those_of_the_model(
    engines: Any, vllm_url: str, tiny_model: Path, tokenizer: Tokenizer
) -> None:
    engine = engines("tiny", vllm_url + "/v1")
    local = engine_from_spec(f"transformers:{tiny_model}", role="teacher")
    prompt_ids, ids = tokenizer.encode(TEXT, begins=True), tokenizer.encode("It is 5, naïve 🙂.")
    try:
        scores = await engine.scores(prompt_ids, ids)
        assert isinstance(local, TransformersEngine)
        reading = await local.read(prompt_ids, ids)
    finally:
        await local.aclose()
    assert scores.logprobs == pytest.approx(reading.logprobs.tolist(), abs=1e-3)
    assert scores.top_logprobs == pytest.approx(reading.top_logprobs.tolist(), abs=1e-3)
    assert scores.end_gap == pytest.approx(reading.end_gap, abs=1e-3)
    with pytest.raises(ContextOverflow, match="context is 512"):
        await engine.scores(prompt_ids * 40, ids)


async def test_an_endpoint_that_scores_no_text_says_so(
    engines: Any, proxy: FaultyProxy, transformers_url: str, tiny_model: Path, tokenizer: Tokenizer
) -> None:
    without_ids = engines(str(tiny_model), transformers_url + "/v1", tokenizer=tokenizer)
    proxy.always = refusing(lambda exchange: "prompt_logprobs" in exchange.request.json)
    without_the_field = engines("tiny", proxy.url, tokenizer=tokenizer)
    for engine in (without_ids, without_the_field):
        with pytest.raises(ConfigurationError, match="takes a vLLM server"):
            await engine.scores([1, 2], [3])
