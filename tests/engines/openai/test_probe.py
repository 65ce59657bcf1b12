"""Probing an endpoint that is a few functions; test_engine.py probes real servers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from relay_core.engines.openai.faults import BreakerOpen, Fault, RequestRefused
from relay_core.engines.openai.http_errors import Unreachable
from relay_core.engines.openai.probe import probe
from relay_core.engines.openai.protocol import RUNNING_USAGE, USAGE, Mode
from relay_core.errors import ConfigurationError, EngineError
from relay_core.tokenizer import Tokenizer

ANSWER = {"choices": [{"message": {"content": "1"}}], "usage": {"prompt_tokens": 9}}


async def models(path: str) -> Any:
    return {"data": [{"id": "m", "max_model_len": 64}]}


async def answers(path: str, body: Mapping[str, Any]) -> Any:
    return ANSWER


class Streams:
    """Accepts a streamed request only with stream options that it knows."""

    def __init__(self, known: list[Mapping[str, bool]], refusal: Exception) -> None:
        self.known, self.refusal = known, refusal
        self.requested_options: list[Mapping[str, bool]] = []

    async def drain(self, path: str, body: Mapping[str, Any]) -> None:
        self.requested_options.append(body.get("stream_options", {}))
        if self.requested_options[-1] not in self.known:
            raise self.refusal


@pytest.mark.parametrize(
    ("known", "refusal", "accepted"),
    [
        ([RUNNING_USAGE, USAGE, {}], EngineError("400"), RUNNING_USAGE),
        ([USAGE, {}], EngineError("400: unknown field"), USAGE),
        ([USAGE, {}], Fault("500", status=500), USAGE),
        ([{}], EngineError("400: unknown field"), {}),
    ],
)
async def test_the_most_detailed_usage_that_the_endpoint_accepts_is_requested(
    known: list[Mapping[str, bool]], refusal: Exception, accepted: Mapping[str, bool]
) -> None:
    streams = Streams(known, refusal)
    endpoint = await probe(models, answers, streams.drain, model="m", mode="chat")
    assert endpoint.dialect.stream_options == accepted
    assert endpoint.context_length == 64
    assert not endpoint.passed_over, "the option was refused, not the mode"


async def test_a_fault_is_not_mistaken_for_a_refused_stream_option() -> None:
    with pytest.raises(Fault, match="500"):
        await probe(models, answers, Streams([], Fault("500", status=500)).drain, model="m", mode="chat")
    with pytest.raises(Fault, match="gone"):
        await probe(models, answers, Streams([USAGE], Fault("gone")).drain, model="m", mode="chat")
    with pytest.raises(ConfigurationError, match="400"):
        await probe(models, answers, Streams([], EngineError("400")).drain, model="m", mode="chat")


def raising(error: Exception) -> Any:
    async def ask(*question: Any) -> Any:
        raise error

    return ask


@pytest.mark.parametrize(
    "error",
    [
        *(RequestRefused("no", status=status) for status in (400, 401, 403, 404, 405)),
        *(Fault("no", status=status) for status in (408, 429, 500, 503)),
        Fault("sent what cannot be read"),
        EngineError("no"),
    ],
    ids=str,
)
async def test_a_list_of_models_that_fails_says_nothing_of_the_endpoint(error: Exception) -> None:
    endpoint = await probe(raising(error), answers, Streams([USAGE], EngineError("400")).drain, model="m", mode="chat")
    assert endpoint.served == ()


async def test_an_endpoint_that_cannot_be_reached_is_asked_nothing_more() -> None:
    for error in (Unreachable("gone"), BreakerOpen("open")):
        with pytest.raises(type(error)):
            await probe(raising(error), raising(AssertionError()), raising(AssertionError()), model="m")


async def test_the_key_is_judged_by_generating_requests() -> None:
    for status in (401, 403):
        questions: list[str] = []

        async def post(path: str, body: Mapping[str, Any], status: int = status, asked: Any = questions) -> Any:
            asked.append(path)
            raise RequestRefused("in other words", status=status, role="student")

        with pytest.raises(ConfigurationError, match=r"^student: in other words$"):
            await probe(models, post, raising(AssertionError()), model="m")
        assert len(questions) == 2, "in another spelling the same key would be refused"


@pytest.mark.parametrize("error", [RequestRefused("403", status=403), Fault("500", status=500), EngineError("no")])
@pytest.mark.parametrize("is_refused", ["/completions", "continue_final_message", "prefix"])
async def test_a_question_that_fails_passes_its_mode_over_and_no_more(error: Exception, is_refused: str) -> None:
    async def post(path: str, body: Mapping[str, Any]) -> Any:
        if is_refused in (path, *body, *body.get("messages", [{}])[-1]):
            raise error
        return ANSWER

    endpoint = await probe(models, post, Streams([USAGE], EngineError("400")).drain, model="m")
    assert endpoint.mode is Mode.CHAT


ODD = [
    None, 7, "text", [], {}, {"a": 1}, {"choices": 7}, {"choices": "x"}, {"choices": {}}, {"choices": {"0": {}}},
    {"choices": []}, {"choices": [7]}, {"choices": [None]}, {"data": 7}, {"data": [7, {}]}, {"data": {"id": "m"}},
    {"data": [{"id": 7}]}, {"data": [{"id": "m", "root": 7, "max_model_len": "x"}]},
    {"data": [{"id": "m", "root": "\0"}]}, {"data": [{"id": "m", "root": "x" * 9000}]},
    {"data": [{"id": "m", "root": "~/../.."}]},
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: str(odd)[:40])
async def test_odd_json_is_an_answer_of_no_use_and_no_foreign_exception(odd: Any) -> None:
    async def get(path: str) -> Any:
        return odd

    async def post(path: str, body: Mapping[str, Any]) -> Any:
        return odd

    streams = Streams([USAGE], EngineError("400"))
    assert (await probe(get, answers, streams.drain, model="m", mode="chat")).mode is Mode.CHAT
    with pytest.raises(ConfigurationError, match="it answered"):
        await probe(models, post, streams.drain, model="m")


@pytest.mark.parametrize(
    "usage", [7, [], {}, {"prompt_tokens": "9"}, {"prompt_tokens": None}, {"prompt_tokens": 1e400}]
)
async def test_an_odd_usage_passes_over_what_needs_it(usage: Any) -> None:
    async def post(path: str, body: Mapping[str, Any]) -> Any:
        return {"choices": [{}], "usage": usage}

    endpoint = await probe(models, post, Streams([USAGE], EngineError("400")).drain, model="m")
    assert endpoint.mode is Mode.CHAT


@pytest.mark.parametrize(("added", "own_bos"), [(0, ""), (1, "<s>"), (7, "")])
async def test_whether_an_endpoint_puts_a_bos_token_before_a_text(added: int, own_bos: str, metaspace: Any) -> None:
    """llama.cpp and `transformers serve` do so for Gemma; a template that begins with one then had two."""
    hf = copy.deepcopy(metaspace.hf)
    hf.bos_token = "<s>"
    tokenizer = Tokenizer(hf)

    async def post(path: str, body: Mapping[str, Any]) -> Any:
        length = len(tokenizer.encode(body["prompt"], begins=True)) + added
        return {"choices": [{"text": "1"}], "usage": {"prompt_tokens": length}}

    drain = Streams([RUNNING_USAGE], EngineError("400")).drain
    endpoint = await probe(models, post, drain, model="m", mode="completions", tokenizer=tokenizer)
    assert endpoint.dialect.own_bos == own_bos


async def test_the_context_of_llama_cpp() -> None:
    async def get(path: str) -> Any:
        return {"data": [{"id": "m", "meta": {"n_ctx": 2048, "n_ctx_train": 8192}}]}

    drain = Streams([RUNNING_USAGE], EngineError("400")).drain
    assert (await probe(get, answers, drain, model="m")).context_length == 2048


@pytest.mark.parametrize("odd", [7, {}, [None], ["a"], [1], [[1]]])
async def test_odd_ids_pass_over_the_mode_ids(odd: Any, tokenizer: Tokenizer) -> None:
    async def post(path: str, body: Mapping[str, Any]) -> Any:
        return {"choices": [{"token_ids": odd, "prompt_token_ids": odd}]}

    streams = Streams([RUNNING_USAGE], EngineError("400"))
    if isinstance(odd, list):
        with pytest.raises(ConfigurationError, match="is not m's"):
            await probe(models, post, streams.drain, model="m", tokenizer=tokenizer)
    else:
        endpoint = await probe(models, post, streams.drain, model="m", tokenizer=tokenizer)
        assert endpoint.mode is Mode.COMPLETIONS


async def test_a_root_without_permission_is_no_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    async def get(path: str) -> Any:
        return {"data": [{"id": "m", "root": "/root/weights"}]}

    monkeypatch.setattr(Path, "is_file", denied)
    assert (await probe(get, answers, Streams([USAGE], EngineError("400")).drain, model="m")).mode is Mode.CHAT


async def test_nothing_is_sent_that_nobody_asked_for() -> None:
    bodies: list[Mapping[str, Any]] = []

    async def post(path: str, body: Mapping[str, Any]) -> Any:
        bodies.append(body)
        return ANSWER

    async def drain(path: str, body: Mapping[str, Any]) -> None:
        bodies.append(body)

    await probe(models, post, drain, model="m")
    assert not {"temperature", "top_p", "top_k", "seed", "stop"} & {name for body in bodies for name in body}
